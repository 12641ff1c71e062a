"""Frames about people, errands, weather, sport and things."""

from seektune.base.frames import Frame

DAILY = [
    Frame(
        "person",
        "person, profile, people, biography | 人物, 简介, 个人, 资料",
        "name: person, age: age, city: city, job: job",
        """name = name, person, full_name, who | 姓名, 名字, name, 人物
        age = age, years, how_old | 年龄, 岁数, age
        city = city, home, town, lives_in | 城市, 住地, city, 居住地
        job = job, work, profession, occupation | 职业, 工作, job""",
        """name = Who is it?; What is the name?; Who is {age} years old?; Who lives in {city}? | 是谁？; 叫什么名字？; 谁住在{city}？; 谁{age}岁？
        age = How old is {name}?; What is the age?; How old? | {name}多大？; 多少岁？; 年龄是多少？
        city = Where does {name} live?; Which city?; Where? | {name}住在哪里？; 哪个城市？; 住哪儿？
        job = What is the job of {name}?; What work does {name} do?; Which profession? | {name}做什么工作？; 什么职业？""",
        """{name} is {age} years old and lives in {city}
        {name}, {age}, is a {job} from {city}
        {name} works as a {job} in {city}
        in {city} lives {name}, a {job}
        at {age}, {name} still works as a {job}
        my neighbor {name} turned {age} and moved to {city}
        the {job} {name} lives in {city}
        I met {name} ({age}) in {city}
        a {job} of {age} years: that is {name}""",
        """{name}今年{age}岁，住在{city}
        {name}，{age}岁，是{city}的一名{job}
        {name}在{city}当{job}
        住在{city}的{name}是{job}
        {age}岁的{name}还在做{job}
        我的邻居{name}{age}岁了，搬到了{city}
        {job}{name}家在{city}
        在{city}我认识了{name}（{age}岁）""",
    ),
    Frame(
        "order",
        "order, shop, delivery, purchase | 订单, 购物, 快递, 下单",
        "code: code, item: item, count: small, status: status, when: date, who: person",
        """code = order, order_id, number, id | 订单号, 编号, order, 单号
        item = item, goods, product, what | 商品, 物品, item, 货品
        count = quantity, count, pieces, how_many | 数量, 件数, quantity
        status = status, state, stage | 状态, 进度, status
        when = date, day, ordered_on | 日期, 下单日, date
        who = customer, name, buyer, client | 客户, 姓名, customer, 买家""",
        """code = What is the order number?; Which order is it?; Give the order id. | 订单号是多少？; 哪个订单？; 编号是什么？
        item = What was ordered?; What is in the order? | 买的是什么？; 订了什么？
        count = How many {item}?; What is the quantity? | 几件？; 数量是多少？; 要了多少？
        status = What is the status?; How far is order {code}? | 订单状态是什么？; {code}现在怎么样？
        when = What is the date?; When was it? | 日期是哪天？; 什么时候？
        who = Who is the customer?; Who ordered? | 客户是谁？; 谁下的单？""",
        """order {code} of {when} {status}
        order {code} for {count} {item} {status}
        {who} ordered {count} {item} on {when}
        on {when} {who} placed order {code}
        {count} {item} for {who}: order {code} {status}
        the order of {who} ({code}) {status}
        your order no. {code}, {count} {item}, {status}
        customer {who}, order {code}, {when}: {status}""",
        """{when}的订单{code}{status}
        订单{code}（{item}，数量{count}）{status}
        {who}在{when}订了{item}，数量{count}
        {when}，{who}下了订单{code}
        {who}的订单{code}{status}
        您的订单{code}，{item}{count}件，{status}
        客户{who}，订单号{code}，{when}，{status}""",
    ),
    Frame(
        "mail",
        "mail, message, letter, office | 邮件, 消息, 信件, 办公",
        "sender: person, receiver: person, subject: subject, time: clock",
        """sender = sender, from, author, writer | 发件人, 寄信人, from, 发送者
        receiver = receiver, to, recipient, addressee | 收件人, 收信人, to, 接收者
        subject = subject, topic, about, re | 主题, 内容, subject, 事由
        time = time, at, clock, sent_at | 时间, 时刻, time""",
        """sender = Who wrote?; Who is the sender?; From whom is the message? | 谁写的？; 发件人是谁？; 谁发给{receiver}？
        receiver = To whom?; Who gets the message?; Who is the receiver? | 写给谁？; 收件人是谁？; {sender}发给了谁？
        subject = What is it about?; What is the subject? | 关于什么？; 主题是什么？
        time = At what time?; When was it sent? | 几点？; 什么时间发的？""",
        """{sender} writes to {receiver} about {subject}
        at {time} {receiver} got a message from {sender} about {subject}
        from: {sender}, to: {receiver}, subject: {subject}
        {receiver} reads what {sender} wrote about {subject}
        a letter about {subject} came from {sender} for {receiver}
        to {receiver}, {time}: news about {subject}, signed {sender}
        {sender} answered {receiver} at {time}""",
        """{sender}给{receiver}写信谈{subject}
        {time}，{receiver}收到{sender}关于{subject}的邮件
        发件人{sender}，收件人{receiver}，内容为{subject}
        {receiver}看了{sender}写的{subject}
        关于{subject}，{sender}在{time}通知了{receiver}
        致{receiver}：{subject}一事，{sender}敬上
        {sender}在{time}回复了{receiver}""",
    ),
    Frame(
        "weather",
        "weather, climate, nature, forecast | 天气, 气候, 自然, 预报",
        "city: city, degrees: degrees, sky: sky, when: date",
        """city = city, place, town, where | 城市, 地点, city, 地区
        degrees = temperature, degrees, celsius, temp | 温度, 气温, temperature
        sky = weather, sky, conditions | 天气, 天空, weather
        when = date, day, when | 日期, 时间, date""",
        """city = Where?; Which place is it? | 是哪里？; 哪个地方？
        degrees = How many degrees?; What is the temperature in {city}? | 多少度？; {city}气温是多少？
        sky = What is the weather like?; How is the sky over {city}? | 天气怎么样？; {city}是什么天气？
        when = On which day?; When? | 哪天？; 什么时候？""",
        """{city} expects {sky} and {degrees} degrees
        on {when} there will be {sky} in {city}
        {degrees} degrees and {sky} in {city}
        {city} on {when}: {sky}, {degrees} degrees
        we have {sky} here in {city}
        with {degrees} degrees, {city} had {sky} on {when}""",
        """{city}{sky}，气温{degrees}度
        {when}，{city}{sky}
        {city}今天{sky}，{degrees}度
        {degrees}度，{city}{sky}
        我们在{city}，这里{sky}
        {when}的{city}：{sky}，{degrees}度""",
    ),
    Frame(
        "match",
        "sport, match, game, football | 体育, 比赛, 球赛, 足球",
        "winner: city, loser: city, high: small, low: small, when: date",
        """winner = winner, won, champion, first | 胜者, 赢家, winner, 胜方
        loser = loser, lost, beaten, second | 败者, 输家, loser, 负方
        high = winner_score, goals, points | 胜方得分, 进球, points
        low = loser_score, conceded, other_points | 负方得分, 失球, other_points
        when = date, day, when | 日期, 时间, date""",
        """winner = Who won?; Which team was better?; Who beat {loser}? | 谁赢了？; 哪队更强？; 谁打败了{loser}？
        loser = Who lost?; Which team was beaten?; Against whom did {winner} win? | 谁输了？; 哪队落败？; {winner}打败了谁？
        high = How many did {winner} score?; How many points has the winner? | {winner}得了几分？; 胜方得多少？
        low = How many did {loser} score?; How many points has the loser? | {loser}得了几分？; 负方得多少？
        when = When was the match?; On which day? | 哪天比赛？; 什么时候？""",
        """{winner} beat {loser} {high} to {low}
        {loser} lost to {winner} on {when}
        {loser} lost {low} to {high} against {winner}
        on {when} {winner} won against {loser}
        {loser} could not stop {winner}, who scored {high}
        a {high}:{low} victory for {winner} over {loser}
        the team of {loser} was beaten by {winner}, {low}:{high}""",
        """{winner}以{high}比{low}战胜{loser}
        {loser}在{when}输给了{winner}
        {loser}以{low}比{high}不敌{winner}
        {when}，{winner}赢了{loser}
        {loser}没能挡住{winner}，对手得了{high}分
        {winner}队打败{loser}队，比分{high}:{low}""",
    ),
    Frame(
        "trip",
        "travel, trip, journey, transport | 旅行, 出行, 行程, 交通",
        "who: person, origin: city, goal: city, ride: ride, when: date, time: clock",
        """who = traveler, name, passenger, person | 旅客, 姓名, passenger, 乘客
        origin = from, origin, start, departure | 出发地, 起点, from, 始发
        goal = to, destination, goal, arrival | 目的地, 终点, to, 到达地
        ride = by, transport, vehicle, means | 交通工具, 方式, transport
        when = date, day, when | 日期, 时间, date
        time = time, leaves_at, clock | 时刻, 时间, time""",
        """who = Who travels?; Who goes to {goal}? | 谁去旅行？; 谁去{goal}？
        origin = From where?; Where does the trip start? | 从哪里出发？; 起点是哪儿？
        goal = Where to?; Where does {who} go? | 去哪里？; {who}要去哪儿？
        ride = By what?; How does {who} travel? | 坐什么去？; {who}怎么去？
        when = When?; On which day? | 哪天？; 什么时候去？
        time = At what time?; What time does it leave? | 几点？; 几点出发？""",
        """{who} goes from {origin} to {goal} by {ride}
        {who} takes the {ride} to {goal} on {when}
        the {ride} to {goal} leaves {origin} at {time}
        on {when} {who} leaves {origin} for {goal}
        from {origin}, {who} travels by {ride} to {goal}
        to {goal} by {ride}: {who} starts at {time} in {origin}
        {who} reached {goal} by {ride}, coming from {origin}""",
        """{who}从{origin}坐{ride}去{goal}
        {when}，{who}坐{ride}到{goal}
        去{goal}的{ride}{time}从{origin}出发
        {who}{when}离开{origin}前往{goal}
        {who}{time}在{origin}坐上{ride}，终点是{goal}
        坐{ride}去{goal}：{who}已从{origin}动身""",
    ),
    Frame(
        "offer",
        "shop, offer, product, sale | 商店, 报价, 商品, 促销",
        "product: product, price: money, color: color, stock: small, code: code",
        """product = product, item, name, article | 产品, 商品, product, 名称
        price = price, cost, costs | 价格, 单价, price
        color = color, shade, look | 颜色, 外观, color
        stock = stock, left, available, in_stock | 库存, 剩余, stock
        code = code, sku, article_number, ref | 货号, 编码, sku, 代码""",
        """product = What is sold?; Which product is it?; What is the article called? | 卖的是什么？; 哪个产品？; 商品叫什么？
        price = What does it cost?; How much is {product}? | 多少钱？; {product}什么价？
        color = Which color?; What color is {product}? | 什么颜色？; {product}是什么颜色？
        stock = How many are left?; How many are in stock? | 还有几件？; 库存多少？
        code = What is the code?; Under which number is {product} found? | 货号是多少？; {product}的编码是什么？""",
        """{product} in {color}, {price}, {stock} left
        {product} costs {price}
        we sell {product} ({color}) for {price}
        only {stock} pieces of {product} remain, each for {price}
        article {code}: {product}, {color}, {price}
        for {price} you get {product} in {color}
        {stock} of {product} are on the shelf under {code}
        a {color} {product} with number {code}""",
        """{product}，{color}，{price}，还剩{stock}件
        {product}卖{price}
        本店{product}（{color}）只要{price}
        {product}只剩{stock}件，每件{price}
        货号{code}：{product}，{color}，{price}
        花{price}就能买到{color}的{product}
        {product}有{stock}件，编号{code}""",
    ),
    Frame(
        "contact",
        "contact, address, phone, card | 联系, 通讯录, 电话, 名片",
        "name: person, phone: phone, company: company, city: city",
        """name = name, contact, person, who | 姓名, 联系人, name, 名字
        phone = phone, tel, number, mobile | 电话, 手机, phone, 号码
        company = company, firm, works_for, employer | 公司, 单位, company, 企业
        city = city, office, location, place | 城市, 办公地, city, 所在地""",
        """name = Who is the contact?; Whose number is {phone}? | 联系人是谁？; {phone}是谁的电话？
        phone = What is the number of {name}?; Which phone number? | {name}的电话是多少？; 电话号码？
        company = Where does {name} work?; For which company? | {name}在哪家公司？; 什么单位？
        city = In which city?; Where is the office? | 在哪个城市？; 办公室在哪里？""",
        """call {name} of {company} at {phone}
        {name}, {company}, {city}, tel. {phone}
        {phone} is the number of {name}
        {name} works for {company} in {city}
        you reach {company} in {city} under {phone}, ask for {name}
        contact: {name} ({company}), phone {phone}""",
        """请打{phone}找{company}的{name}
        {name}，{company}，{city}，电话{phone}
        {phone}是{name}的号码
        {name}在{city}的{company}上班
        {company}（{city}）电话{phone}，找{name}
        联系人：{name}（{company}），电话：{phone}""",
    ),
    Frame(
        "pet",
        "pet, animal, family, home | 宠物, 动物, 家庭, 生活",
        "owner: person, name: stem, pet: pet, color: color, age: small",
        """owner = owner, person, belongs_to, keeper | 主人, 饲主, owner
        name = name, pet_name, called | 名字, 宠物名, name
        pet = kind, animal, species, type | 种类, 动物, kind
        color = color, coat, fur | 颜色, 毛色, color
        age = age, years | 年龄, 岁数, age""",
        """owner = Who is the owner?; To whom does {name} belong? | 主人是谁？; {name}是谁家的？
        name = What is the animal called?; What is the name of the {pet}? | 叫什么名字？; {pet}叫什么？
        pet = What kind of animal is it?; What is {name}? | 是什么动物？; {name}是什么？
        color = Which color has {name}?; What color is it? | {name}什么颜色？; 什么颜色？
        age = How old is {name}?; What is its age? | {name}几岁？; 多大了？""",
        """{owner} has a {color} {pet} called {name}
        {name}, the {pet} of {owner}, is {age} years old
        {owner} lost a {pet}: {name} is {color}
        the {color} {pet} {name} belongs to {owner}
        {name} is a {pet} and {age} years old
        at the house of {owner} lives {name}, a {color} {pet}""",
        """{owner}有一只{color}的{pet}，叫{name}
        {owner}家的{pet}{name}{age}岁了
        {owner}的{pet}丢了，它叫{name}，是{color}的
        {color}的{pet}{name}是{owner}养的
        {name}是一只{pet}，今年{age}岁""",
    ),
    Frame(
        "exam",
        "exam, school, education, test | 考试, 学校, 教育, 测验",
        "name: person, course: course, points: small, result: passed, when: date",
        """name = student, name, pupil, who | 学生, 姓名, student
        course = course, subject, class | 科目, 课程, course
        points = points, score, mark, grade | 分数, 得分, score, 成绩
        result = result, outcome, passed | 结果, 是否通过, result
        when = date, day, when | 日期, 时间, date""",
        """name = Who is the student?; Who took the test? | 学生是谁？; 谁参加了考试？
        course = Which course?; What was the test about? | 什么科目？; 考的是什么？
        points = How many points?; What is the score of {name}? | 多少分？; {name}得了几分？
        result = What is the result?; Did {name} make it? | 结果如何？; {name}考得怎样？
        when = When was it?; On which day? | 哪天？; 什么时候？""",
        """{name} {result} the {course} test with {points} points
        with {points} points {name} {result} {course}
        {name} {result} the exam in {course} on {when}
        {course}, {when}: {name} {result} the test
        in {course} {name} got {points} points""",
        """{name}的{course}{result}，得了{points}分
        {when}，{name}{result}{course}考试
        {name}以{points}分{result}{course}
        {course}考试{name}{result}
        {name}{course}考了{points}分""",
    ),
    Frame(
        "review",
        "review, opinion, comment, feedback | 评论, 评价, 意见, 反馈",
        "name: person, product: product, mood: mood, points: small",
        """name = author, name, customer, user | 用户, 姓名, author, 评论人
        product = product, item, about, thing | 产品, 商品, product, 对象
        mood = sentiment, mood, opinion, feeling | 情感, 态度, sentiment, 评价
        points = stars, rating, points, score | 评分, 分数, rating""",
        """name = Who wrote the review?; Who has an opinion? | 谁写的评论？; 用户是谁？
        product = What is the review about?; What does {name} talk about? | 评的是什么？; {name}说的是哪个产品？
        mood = What is the sentiment?; How does {name} find it? | 是什么态度？; {name}觉得怎么样？
        points = How many points were given?; What is the rating? | 给了几分？; 评分是多少？""",
        """{name} finds {product} {mood}
        {product} is {mood}, says {name}
        {name} gave {product} {points} points and called it {mood}
        "{product}? {mood}!" wrote {name}
        after a week with {product}, {name} thinks it is {mood}""",
        """{name}说{product}{mood}
        {product}{mood}，{name}这样评价
        {name}给{product}打了{points}分，觉得{mood}
        用了一周{product}，{name}认为{mood}""",
    ),
    Frame(
        "stock",
        "stock, storage, warehouse, list | 库存, 仓储, 仓库, 清单",
        "count: count, item: item, shelf: code, city: city",
        """count = count, quantity, amount, pieces | 数量, 件数, count
        item = item, goods, article, what | 物品, 货物, item
        shelf = shelf, place, position, bin | 货架, 位置, shelf
        city = city, warehouse, store, site | 城市, 仓库, city""",
        """count = How many {item}?; What is the quantity? | 有多少？; {item}有几件？
        item = What is stored?; What lies on {shelf}? | 存的是什么？; {shelf}上是什么？
        shelf = Where do the {item} lie?; Which shelf? | {item}放在哪个货架？; 哪个位置？
        city = In which city?; Which warehouse? | 在哪个城市？; 哪个仓库？""",
        """{count} {item} lie on shelf {shelf}
        shelf {shelf} in {city} holds {count} {item}
        the {city} store has {count} {item}
        {item}: {count} pieces, place {shelf}, {city}
        we counted {count} {item} on {shelf}""",
        """货架{shelf}上有{item}{count}件
        {city}仓库的{shelf}存放{item}，数量{count}
        {city}店里有{count}件{item}
        {item}：{count}件，位置{shelf}，{city}
        清点结果：{shelf}上{item}{count}件""",
    ),
    Frame(
        "meeting",
        "meeting, calendar, plan, schedule | 会议, 日程, 安排, 约会",
        "first: person, second: person, city: city, when: date, time: clock",
        """first = host, first, organizer, who | 主持人, 发起人, host
        second = guest, second, with, visitor | 客人, 对方, guest, 来宾
        city = city, place, where, location | 城市, 地点, place
        when = date, day, when | 日期, 哪天, date
        time = time, hour, at | 时间, 时刻, time""",
        """first = Who invites?; Who is the host? | 谁请的客？; 谁是主人？
        second = Who is the guest?; Whom does {first} invite? | 客人是谁？; {first}请了谁？
        city = Where do they meet?; In which city? | 在哪里见面？; 哪个城市？
        when = On which day?; What is the date? | 哪天？; 日期是？
        time = At what time?; When exactly? | 几点？; 具体时间？""",
        """{first} invites {second} to {city} on {when}
        {second} was invited by {first} for {time}
        on {when} at {time} {first} welcomes {second} in {city}
        {second} visits {first} in {city}
        {first} is host to {second} on {when}
        guest of {first} in {city} at {time}: {second}""",
        """{first}请{second}{when}到{city}见面
        {second}应{first}邀请，{time}到
        {when} {time}，{first}在{city}接待{second}
        {second}到{city}拜访{first}
        {first}做东，客人是{second}，时间{time}""",
    ),
]
