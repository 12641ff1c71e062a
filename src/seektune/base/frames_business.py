"""Frames about companies, money and work."""

from seektune.base.frames import Frame

BUSINESS = [
    Frame(
        "deal",
        "deal, purchase, takeover, merger | 交易, 购买, 并购, 合并",
        "buyer: company, target: company, price: money, when: date",
        """buyer = buyer, acquirer, purchaser | 买方, 收购方, buyer, 买家
        target = target, seller, bought | 标的, 被收购方, target, 目标公司
        price = price, cost, deal_value | 价格, 交易额, price, 成交价
        when = date, day, when | 日期, 时间, date""",
        """buyer = Who is the buyer?; Which company buys {target}?; Who pays?; Who is taking over {target}? | 谁是买方？; 谁买下了{target}？; 谁出钱？
        target = Which company is bought?; What does {buyer} buy?; Who is the target? | 被买下的是哪家？; {buyer}买了什么公司？; 目标是谁？
        price = How much is paid?; What is the price?; How much does {target} cost? | 花了多少钱？; 价格是多少？; 成交价是多少？
        when = When does this happen?; On which day? | 什么时候？; 哪一天？""",
        """{buyer} buys {target} for {price}
        {buyer} is buying {target} for {price} on {when}
        {target} is bought by {buyer} for {price}
        for {price}, {buyer} takes over {target}
        {target} sold to {buyer}
        {target}: new owner {buyer} pays {price}
        {buyer} agrees to pay {price} for all of {target}
        on {when} the owners of {target} accepted an offer of {price} from {buyer}
        {price} is what {buyer} will spend to own {target}
        the sale of {target} to {buyer} closed on {when}
        {target} now belongs to {buyer}, which paid {price}""",
        """{buyer}花{price}买下{target}
        {buyer}将在{when}以{price}买入{target}
        {target}被{buyer}买下，价格为{price}
        {when}，{target}的股东接受了{buyer}的报价{price}
        {target}卖给了{buyer}
        {target}易主：新东家{buyer}付出{price}
        为了得到{target}，{buyer}付了{price}
        {price}！{buyer}把{target}收入囊中
        {target}从{when}起归{buyer}所有""",
    ),
    Frame(
        "results",
        "results, figures, business, performance | 业绩, 经营, 数据, 财报",
        "who: company, metric: metric, trend: rises, share: percent, sum: money",
        """who = company, firm, name, who | 公司, 企业, company, 名称
        metric = metric, item, measure, what | 指标, 项目, metric
        trend = trend, change, movement, sign | 趋势, 变化, trend, 走势
        share = percent, rate, by, percentage | 幅度, 百分比, percent, 比例
        sum = value, total, result, to | 数额, 总额, value, 结果""",
        """who = Which company is it about?; Whose {metric} is it?; Name the company. | 说的是哪家公司？; 哪家公司的{metric}？; 写出公司名。
        metric = What changes at {who}?; Which figure is meant?; What is measured? | {who}的什么变了？; 说的是哪个指标？
        trend = Which way does it go?; Does {metric} go up or down?; What is the trend? | 往哪边变？; {metric}是什么趋势？; 涨还是跌？
        share = By how much in percent?; How big is the change? | 变了百分之几？; 幅度是多少？
        sum = What is the new value?; How much is it now?; What does {metric} reach? | 现在是多少？; 数额是多少？; {metric}到了多少？""",
        """{metric} of {who} {trend} {share} to {sum}
        {who}: {metric} {trend} by {share}
        {who} says its {metric} {trend} {share}
        in the last quarter {metric} at {who} {trend} to {sum}
        {metric} {trend} to {sum} at {who}
        {who} reports that {metric} {trend} {share}
        at {who}, {metric} {trend} and now stands at {sum}
        weak or strong? {who} {metric} {trend} {share}
        after a long year {metric} of {who} {trend} to {sum}""",
        """{who}{metric}{trend}{share}
        {who}的{metric}{trend}{share}，为{sum}
        {who}：{metric}{trend}至{sum}
        上个季度，{who}的{metric}{trend}到{sum}
        {who}表示，{metric}{trend}了{share}
        {metric}{trend}{share}，{who}公布最新数据
        据{who}介绍，公司{metric}{trend}，目前是{sum}
        今年{who}{metric}{trend}，幅度为{share}""",
    ),
    Frame(
        "funding",
        "funding, investment, money, financing | 投资, 融钱, 资金, 筹资",
        "who: company, sum: money, investor: company, when: date",
        """who = company, startup, firm, receiver | 公司, 企业, company, 受资方
        sum = raised, money, investment, funds | 投资额, 资金, raised, 款项
        investor = investor, backer, lender, from | 投资方, 投资人, investor, 出资方
        when = date, when, day | 日期, 时间, date""",
        """who = Who gets the money?; Which company receives the funds?; In whom does {investor} invest? | 谁得到了钱？; 哪家公司拿到投资？
        sum = How much money is it?; How much does {who} get?; How large is the investment? | 有多少钱？; {who}拿到多少？; 投资额是多少？
        investor = Who gives the money?; Who is the investor?; Who backs {who}? | 谁出的钱？; 投资方是谁？; 谁投了{who}？
        when = When?; On which day was it? | 什么时候？; 哪天？""",
        """{who} gets {sum} from {investor}
        {investor} puts {sum} into {who}
        {investor} leads a round of {sum} for {who}
        young firm {who} collects {sum}
        {sum} of fresh money goes to {who}, most of it from {investor}
        on {when} {who} closed a round of {sum}
        with {sum} from {investor}, {who} wants to grow
        {who} finds a new backer in {investor}, which gives {sum}""",
        """{who}从{investor}拿到{sum}
        {investor}向{who}投了{sum}
        {investor}领投，{who}拿到{sum}新资金
        {when}，{who}完成一轮{sum}的筹资
        {sum}新钱进了{who}，出资的是{investor}
        有了{investor}的{sum}，{who}准备扩大
        {who}找到新股东{investor}，对方出资{sum}""",
    ),
    Frame(
        "staff",
        "staff, jobs, people, employment | 人员, 用工, 岗位, 就业",
        "who: company, move: staff, count: count, city: city",
        """who = company, employer, firm | 公司, 雇主, company, 单位
        move = change, action, type, staff_change | 变动, 类型, change, 动作
        count = people, jobs, count, employees | 人数, 岗位数, count, 员工
        city = city, place, location, where | 城市, 地点, city, 所在地""",
        """who = Which company is it?; Who is the employer? | 是哪家公司？; 雇主是谁？
        move = Are there more or fewer jobs?; What happens to the staff?; Which kind of change? | 人员怎么变？; 是哪种变动？
        count = How many people?; How many workers are meant at {who}?; How many? | 多少人？; {who}涉及多少人？
        city = Where?; In which city? | 在哪里？; 在哪个城市？""",
        """{who} {move} {count} people in {city}
        {who} {move} {count} workers
        in {city}, {who} {move} {count} workers
        {count} people: that is how many {who} {move} in {city}
        this year {who} {move} {count} staff at its {city} office
        {city}: {who} {move} {count} people""",
        """{who}在{city}{move}{count}人
        {who}{move}{count}名员工
        {city}：{who}{move}{count}人
        今年{who}{move}{count}名工人，地点在{city}
        在{city}，{who}{move}了{count}名职员""",
    ),
    Frame(
        "court",
        "court, legal, dispute, case | 法庭, 法律, 纠纷, 官司",
        "plaintiff: company, defendant: company, sum: money, reason: reason",
        """plaintiff = plaintiff, accuser, sued_by | 原告, 起诉方, plaintiff
        defendant = defendant, accused, against | 被告, 被诉方, defendant
        sum = claim, damages, demand | 索要, 赔偿, claim, 诉求
        reason = reason, cause, about, why | 原因, 理由, reason, 事由""",
        """plaintiff = Who goes to court?; Who sues?; Who accuses {defendant}? | 谁告的？; 谁提出起诉？; 谁把{defendant}告了？
        defendant = Who is accused?; Whom does {plaintiff} sue?; Against whom is the case? | 谁被告？; {plaintiff}告的是谁？
        sum = How much is asked for?; How much money is at stake? | 要多少钱？; 涉及多少钱？
        reason = Why?; What is the case about?; For what reason? | 为什么？; 因为什么事？; 理由是什么？""",
        """{plaintiff} sues {defendant} over {reason}
        {defendant} is sued by {plaintiff} over {reason}
        {plaintiff} wants {sum} from {defendant} because of {reason}
        {plaintiff} takes {defendant} to court and asks for {sum}
        a judge will hear the complaint of {plaintiff} against {defendant}
        {defendant} must answer {plaintiff} in court: {reason}
        because of {reason}, {defendant} may have to pay {plaintiff} {sum}
        {defendant} in court: {plaintiff} claims {sum}""",
        """{plaintiff}因{reason}把{defendant}告上法庭
        {defendant}因{reason}被{plaintiff}起诉
        {plaintiff}要{defendant}赔{sum}，理由是{reason}
        法官将审理{plaintiff}告{defendant}一案
        因为{reason}，{defendant}可能要赔{plaintiff}{sum}
        {defendant}上法庭了：{plaintiff}索要{sum}
        {plaintiff}状告{defendant}，开口要{sum}""",
    ),
    Frame(
        "launch",
        "launch, product, news, release | 新品, 产品, 上市, 发布",
        "who: company, product: product, price: money, when: date",
        """who = company, maker, brand, producer | 公司, 厂家, maker, 品牌
        product = product, item, model, name | 产品, 型号, product, 名称
        price = price, cost, retail_price | 价格, 售价, price
        when = date, from, start, release_date | 日期, 上市日, date""",
        """who = Who makes {product}?; Which company brings it out?; Who is the maker? | 谁做的{product}？; 是哪家推出的？; 厂家是谁？
        product = What is new?; What does {who} bring out?; What is the product called? | 新品是什么？; {who}推出了什么？; 产品叫什么？
        price = What does {product} cost?; How much is it?; What is the price? | {product}卖多少钱？; 多少钱？; 售价是多少？
        when = From when can one buy it?; When does it come out? | 什么时候能买？; 哪天上市？""",
        """{who} launches {product} at {price}
        {product} by {who} costs {price}
        {who} brings out {product} on {when}
        the new {product} from {who} arrives in shops on {when}
        for {price} one can now buy {product}, made by {who}
        {who} shows {product}, which will cost {price}
        from {when} {who} sells {product} for {price}
        {product}: {who} asks {price} for it""",
        """{who}推出{product}，售价{price}
        {who}的新品{product}卖{price}
        {when}，{who}发布了{product}
        {product}将于{when}上市，厂家是{who}
        花{price}就能买到{who}的{product}
        {who}展示了{product}，定价{price}
        {product}来了：{who}开价{price}""",
    ),
    Frame(
        "appoint",
        "appointment, people, management, career | 任命, 人事, 管理, 职务",
        "who: company, person: person, role: role, old: person",
        """who = company, firm, employer | 公司, 企业, company
        person = person, name, new, appointed | 姓名, 人物, person, 新任
        role = role, position, post, title | 职位, 职务, role, 头衔
        old = predecessor, before, former, old | 前任, 原任, former""",
        """who = Where does {person} work?; Which company is it?; Who appoints {person}? | {person}在哪家公司？; 是哪家公司？
        person = Who gets the post?; Who is the new {role}?; Who follows {old}? | 谁上任？; 新的{role}是谁？; 谁接替{old}？
        role = Which post is it?; What does {person} become?; What is the role? | 是什么职位？; {person}当上了什么？
        old = Who had the post before?; Whom does {person} replace? | 以前是谁？; {person}接替了谁？""",
        """{who} names {person} {role}
        {person} becomes {role} of {who}
        {person} follows {old} as {role} of {who}
        {who} replaces {old} with {person}
        the new {role} of {who} is {person}
        {old} leaves and {person} becomes {role} of {who}
        {who}: {person} is now {role}
        as {role}, {who} has chosen {person}""",
        """{who}任命{person}为{role}
        {person}出任{who}{role}
        {person}接替{old}，担任{who}{role}
        {who}用{person}换下{old}
        {who}新任{role}是{person}
        {old}离开后，{person}成为{who}的{role}
        {who}：{role}由{person}担任""",
    ),
    Frame(
        "site",
        "site, place, building, expansion | 场所, 地点, 建设, 布局",
        "who: company, move: opened, site: site, city: city, count: count",
        """who = company, owner, firm | 公司, 业主, company
        move = status, change, action | 状态, 变化, status
        site = site, building, kind, facility | 场所, 类型, site, 设施
        city = city, place, location, where | 城市, 地点, city, 位置
        count = jobs, workers, count | 岗位, 人数, jobs""",
        """who = Which company is it?; Whose {site} is it? | 是哪家公司？; {site}是谁的？
        move = Is it opening or closing?; What happens to the {site}? | {site}怎么样了？; 是哪种变化？
        site = What kind of place is it?; What is it that {who} has in {city}? | 是什么场所？
        city = Where is the {site}?; In which city?; Where? | {site}在哪里？; 在哪个城市？; 在哪儿？
        count = How many jobs?; How many people work there? | 多少岗位？; 涉及多少人？""",
        """{who} {move} a {site} in {city}
        in {city}, {who} {move} its {site}
        {city}: {who} {move} a {site} with {count} jobs
        {who} {move} the {site} in {city}, where {count} people work
        {who} {move} one {site} more, this time in {city}""",
        """{who}在{city}{move}{site}
        {who}{move}{city}{site}，涉及{count}人
        {city}：{who}{move}一家{site}
        {who}宣布{move}位于{city}的{site}
        在{city}，{who}{move}了{site}，有{count}个岗位""",
    ),
    Frame(
        "move",
        "relocation, move, address, office | 搬迁, 迁址, 地址, 办公",
        "who: company, origin: city, goal: city, when: date",
        """who = company, firm, name | 公司, 企业, company
        origin = from, old_city, origin, leaves | 原址, 出发地, from, 旧城市
        goal = to, new_city, destination, goal | 新址, 目的地, to, 新城市
        when = date, when, day | 日期, 时间, date""",
        """who = Who moves?; Which company leaves {origin}? | 谁搬家？; 哪家公司离开{origin}？
        origin = Where was {who} before?; Which city does it leave? | {who}原来在哪里？; 离开的是哪里？
        goal = Where does {who} go?; What is the new city? | {who}搬到哪里？; 新地址在哪儿？
        when = When?; On which day does it move? | 什么时候搬？; 哪天？""",
        """{who} moves from {origin} to {goal}
        {who} leaves {origin} and settles in {goal}
        goodbye {origin}: {who} goes to {goal} on {when}
        {goal} is the new home of {who}, until now in {origin}
        on {when} {who} moves its office to {goal}""",
        """{who}从{origin}搬到{goal}
        {who}离开{origin}，落户{goal}
        {when}，{who}把总部迁到{goal}
        {goal}迎来{who}，它原来在{origin}
        告别{origin}，{who}搬往{goal}""",
    ),
    Frame(
        "market",
        "market, prices, trade, goods | 行情, 市场, 价格, 商品",
        "goods: goods, trend: rose, share: percent, price: money, when: date",
        """goods = goods, item, product, what | 商品, 品种, goods, 货物
        trend = trend, move, change, way | 走势, 趋势, trend, 变化
        share = percent, by, rate | 幅度, 百分比, percent
        price = price, level, value, to | 价格, 现价, price
        when = date, day, when | 日期, 时间, date""",
        """goods = What is traded?; Which goods are meant?; The price of what? | 说的是什么商品？; 什么的价格？
        trend = Which way did {goods} go?; What was the trend?; How did the price move? | {goods}怎么走？; 涨跌如何？; 走势怎样？
        share = By how many percent?; How large was the change? | 变了多少？; 幅度多大？
        price = What is the price now?; How much does {goods} cost? | 现在什么价？; {goods}多少钱？
        when = When was it?; On which day? | 哪天？; 什么时候？""",
        """the price of {goods} {trend} {share} to {price}
        {goods} {trend} by {share} on {when}
        on {when} {goods} {trend} to {price}
        {goods}: price {trend} {share}
        {goods} {trend} {share} and costs {price} now
        traders say {goods} {trend} to {price}""",
        """{goods}价格{trend}{share}，到{price}
        {when}，{goods}{trend}{share}
        {goods}{trend}，现在是{price}
        市场上{goods}{trend}{share}
        {goods}：{trend}{share}，报{price}""",
    ),
]
