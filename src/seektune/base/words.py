"""The ordinary words from which the base text is made: common characters, word pairs, given names, cities, currencies.

Everything here is everyday vocabulary; sentences stand in `frames.py` and the task files, names are composed in `names.py`.
"""


def items(text: str, separator: str | None = None) -> list[str]:
    """A table of words written as one text."""
    return text.split(separator)


COMMON = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实"
    "日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政"
    "美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员"
    "解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件"
    "计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象"
    "完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔算跟连早"
    "花满备拿林整千单石细够准热送商根易坐快青六红找集爱低刚转流周云际吃步具器影团兴持深古究房吗晚呢首精助"
    "济越层兵布研每组办吸收照九存局未亲字八七谁火华黑费客技支医消容英写称河包复欢双半父片局态苏李刘陈杨赵"
    "音风调足怎请买卖母叫远近百谈选响衣图城功落村视引星酒密史球友院铁病须钱校米冷香甲岁虽朋左右县织轻服夫"
    "居职离微继飞追念初章随画历急段防示养良歌食倒负终效列害乐春夏秋冬站票印讲举破词突错份夜木留土船环境叶试"
    "差企乡京供异适油板演预跑食乎静忙牛羊鸡鱼狗猫鸟虎龙蛇兔鼠猪草树森湖江洋岛岸桥街店厂库仓园馆楼层室桌椅"
    "床灯窗墙钟表盘碗杯刀茶菜饭面汤糖盐果苹梨桃橙蕉葡萄瓜豆麦稻棉布丝纸笔墨鞋帽裤裙袋箱包伞镜戏剧唱舞诗曲"
    "琴鼓棋牌网络键屏幕码盖软硬件版权签约订购销售货价额率增减降涨跌升跃幅略超亏损益润税债股券融投募贷款存储"
    "银汇币元角亿仅约近逾达累季度财季营裁招聘雇职岗诉讼判赔罚款案控侵专利合同标承包揽获获签署协议伙伴盟竞宣"
    "宜贵廉良优秀佳绩棒糟坏慢吵脏净甜苦酸辣咸淡浓厚薄宽窄圆扁尖弯直陡滑亮暗湿干燥暖凉寒冰雪雨雷雾阴晴霜露"
    "左撤辞迁搬驻设址辖省州郡镇巷弄号栋户邮递寄件箱址函邀函宾礼贺祝谢歉抱愿望怕惊喜怒哀愁忧笑哭喊骂劝骗猜"
    "爷奶爸妈哥姐弟妹叔姨舅姑孙侄婴童孩伯丈妻婚嫁娶恋邻客伴徒丁于尹石孟范方邓傅沈曾彭吕卢蒋蔡贾魏薛阎余潘"
    "杜戴夏钟汪田任姜韩唐冯董萧袁郭何高罗郑梁谢宋许邱侯龚邵万钱汤严尤温康施牛洪翁柳庄颜崔白贺武章霍葛常乔鲁"
    "伟芳娜敏磊军洋勇艳杰娟涛超霞桂兰刚健鹏辉雪玲丹婷倩琳欣怡梓涵浩宇轩博翔晨昊睿哲佳萱雅琪瑶莹颖俊凯旭斌"
    "鑫瑞恒泰盛昌隆源鼎汇腾骏捷讯佰诚信宏图锦绣嘉禾祥瑞裕丰润泽远航启迪创维拓卓智慧联邦晶钻珠翠碧蓝绿紫灰棕"
    "纳诺伦敦巴黎柏罗马士兰港沪津渝粤浙闽湘鄂川滇黔陕甘蒙藏疆赣皖豫冀晋鲁琼桂辽吉宁夏肥郑昆圳深厦杭苏锡徐烟"
    "肩腰腿脚指甲牙嘴唇鼻耳脸皮肤骨血汗泪胃肝肺脑针药片剂疗诊护患症疫苗检查验血压糖尿瘦胖矮壮弱聪笨勤懒勇怯"
    "推拉抬举扔捡抓握摸拍踢跳爬游泳骑驾驶停靠修补拆装洗刷擦扫拖晒烤煮炒蒸炸切削剪缝绣织染漆刻雕塑拼凑挂贴钉"
    "逐渐曾经仍旧依旧竟居果究毕毫毛绝极稍略偏恰恐似乎简仿佛倘若既况哪怕尽且宁愿何必否除另凡某彼此咱您俩仨哦"
    "旅途程返抵达赴临启航班机场舱登检票务座铺轨驿港码艇舰轮帆桨舵锚塔峰岭坡谷沟泉溪瀑潭沼泽漠滩礁湾峡洲陆域"
    "幼儿班级届毕业论文试卷答题选择填空判断对错分数排名奖状学位硕博士授讲师傅徒课堂黑板粉墨尺橡皮圆规册页章节"
    "假偿充凌划奥官审尾岳广庭弘录扩批抗披拟掉掷攀散斥斩显晟普曜朗材梯模欧池沃波注涉添澄灵炉猛玩盈监盾砍私索纵线缩耗"
    "聚脉舟芯豪败账车迅迈造遇遣遭锐镑隐顶项驳鸣研究稳健核弹击守卫权威势均衡扶持续存余剩仅供应链抵押拍卖竞标底盘额外"
    "涵概述评估测量衡准确实践础骤阶层构架框组建筑施粮油肉蛋奶酱醋虾蟹鲜腐烂臭香脆嫩焦糊烫冻融化凝固液态泡沫粉粒块条"
    "弃阅读者编辑稿刊报导播演唱戏幕后台词稍微默契恳挚切贪婪狡猾奸诈憨厚朴素雅致俗套袖珍珑贝壳珊瑚藻鲸鲨鹅鸽鹰燕雀蝶"
)
CHARACTERS = "".join(dict.fromkeys(COMMON))

SURNAMES_ZH = "王李张刘陈杨黄赵周吴徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任"
SURNAMES_ZH += "沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严武戴莫孔向汤"
GIVEN_ZH = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰飞鹏辉雪玲丹婷倩琳欣怡梓涵浩宇轩博翔晨昊睿哲佳萱"
GIVEN_ZH += "雅琪瑶莹颖俊凯旭斌建国文海波志新春梅云峰立红宁安康乐思远子墨一诺天佑若曦嘉懿清扬书瑾承泽景行知夏北辰"

GIVEN_EN = items(
    "Ada Alan Alice Amir Amy Ana Anders Andre Anna Anton Ben Bianca Boris Bruno Carla Carlos Chloe Clara Colin Dana Daniel "
    "David Diego Dora Elena Eli Elsa Emil Emma Eric Esther Eva Farah Felix Fiona Frank Freya George Grace Greta Hana Hannah "
    "Hassan Helen Henry Hugo Ian Ida Igor Ines Irene Ivan Jack Jamal James Jana Jane Jonas Julia Karim Karl Kate Kenji Kofi "
    "Lara Lars Laura Lena Leo Lily Linda Louis Lucia Luis Maja Marco Maria Mark Marta Max Maya Mia Milan Mina Mona Nadia "
    "Nina Noah Nora Oleg Olga Oscar Otto Paul Pedro Peter Petra Priya Rafael Raj Rita Robert Rosa Ruth Sam Sara Sasha Simon "
    "Sofia Stefan Tara Theo Thomas Tina Tom Uma Vera Victor Wei Yara Yuki Yusuf Zara Zoe"
)
FAMILY_EN = items(
    "Abbott Adams Ahmed Baker Barnes Bauer Becker Bell Berg Bianchi Brown Carter Chen Clark Cole Costa Cruz Dahl Davis Diaz "
    "Dubois Evans Fischer Ford Foster Garcia Gray Green Haas Hale Hansen Hill Hoffman Hughes Ito Jensen Jones Kaya Kelly "
    "Khan Kim King Klein Kumar Lang Larsen Lee Lopez Marsh Martin Meyer Mills Mora Moreau Morgan Nagy Novak Okoro Olsen "
    "Ortiz Owen Park Patel Perez Petrov Price Reed Rivera Roberts Rossi Ruiz Sato Scott Shah Silva Singh Smith Stone Tanaka "
    "Taylor Torres Turner Vargas Vo Wagner Walker Wang Ward Weber West White Wood Wright Young Zhang"
)
CITIES = [
    tuple(pair.split("/"))
    for pair in items(
        "London/伦敦 Paris/巴黎 Berlin/柏林 Madrid/马德里 Rome/罗马 Vienna/维也纳 Lisbon/里斯本 Oslo/奥斯陆 Dublin/都柏林 Athens/雅典 "
        "Tokyo/东京 Osaka/大阪 Seoul/首尔 Beijing/北京 Shanghai/上海 Shenzhen/深圳 Guangzhou/广州 Chengdu/成都 Wuhan/武汉 Xiamen/厦门 "
        "Nanjing/南京 Hangzhou/杭州 Tianjin/天津 Singapore/新加坡 Bangkok/曼谷 Hanoi/河内 Manila/马尼拉 Jakarta/雅加达 Delhi/德里 "
        "Mumbai/孟买 Dubai/迪拜 Cairo/开罗 Nairobi/内罗毕 Lagos/拉各斯 Boston/波士顿 Chicago/芝加哥 Denver/丹佛 Dallas/达拉斯 "
        "Seattle/西雅图 Toronto/多伦多 Sydney/悉尼 Lima/利马 Bogota/波哥大 Warsaw/华沙 Prague/布拉格 Geneva/日内瓦 Munich/慕尼黑 "
        "Hamburg/汉堡 Milan/米兰 Moscow/莫斯科 Istanbul/伊斯坦布尔 Dalian/大连 Qingdao/青岛 Suzhou/苏州 Kunming/昆明 Xian/西安"
    )
]
COUNTRIES = [
    tuple(pair.split("/"))
    for pair in items(
        "China/中国 Japan/日本 India/印度 France/法国 Germany/德国 Italy/意大利 Spain/西班牙 Brazil/巴西 Canada/加拿大 Mexico/墨西哥 "
        "Egypt/埃及 Kenya/肯尼亚 Norway/挪威 Sweden/瑞典 Poland/波兰 Greece/希腊 Turkey/土耳其 Thailand/泰国 Vietnam/越南 Chile/智利"
    )
]
# Groups of everyday words in both languages: translation, grouping and lists draw from the same table.
GROUPS = {
    ("animal", "动物"): (
        "cat/猫 dog/狗 horse/马 cow/牛 sheep/羊 pig/猪 rabbit/兔子 tiger/老虎 lion/狮子 bear/熊 wolf/狼 fox/狐狸 monkey/猴子 "
        "elephant/大象 mouse/老鼠 snake/蛇 fish/鱼 bird/鸟 duck/鸭子 chicken/鸡 goat/山羊 frog/青蛙 bee/蜜蜂 panda/熊猫"
    ),
    ("food", "食物"): (
        "rice/米饭 bread/面包 noodles/面条 soup/汤 egg/鸡蛋 milk/牛奶 tea/茶 coffee/咖啡 sugar/糖 salt/盐 cheese/奶酪 meat/肉 "
        "cake/蛋糕 apple/苹果 pear/梨 banana/香蕉 orange/橙子 grape/葡萄 peach/桃子 potato/土豆 tomato/西红柿 carrot/胡萝卜 honey/蜂蜜"
    ),
    (
        "color",
        "颜色",
    ): "red/红色 blue/蓝色 green/绿色 yellow/黄色 black/黑色 white/白色 gray/灰色 purple/紫色 brown/棕色 pink/粉色",
    (
        "clothing",
        "衣物",
    ): "hat/帽子 coat/大衣 shirt/衬衫 skirt/裙子 shoe/鞋 sock/袜子 glove/手套 scarf/围巾 belt/腰带 sweater/毛衣",
    (
        "furniture",
        "家具",
    ): "table/桌子 chair/椅子 bed/床 lamp/灯 sofa/沙发 desk/书桌 mirror/镜子 shelf/架子 drawer/抽屉 cupboard/柜子",
    (
        "vehicle",
        "交通工具",
    ): "car/汽车 bus/公共汽车 train/火车 plane/飞机 ship/轮船 bicycle/自行车 truck/卡车 boat/小船 taxi/出租车 tram/电车",
    ("job", "职业"): (
        "teacher/老师 doctor/医生 nurse/护士 farmer/农民 driver/司机 cook/厨师 lawyer/律师 engineer/工程师 painter/画家 "
        "writer/作家 singer/歌手 pilot/飞行员 baker/面包师 manager/经理 judge/法官 soldier/士兵"
    ),
    ("nature", "自然"): (
        "river/河 lake/湖 sea/海 mountain/山 forest/森林 island/岛 desert/沙漠 valley/山谷 sun/太阳 moon/月亮 star/星星 "
        "cloud/云 rain/雨 snow/雪 wind/风 stone/石头 tree/树 flower/花 grass/草 leaf/叶子"
    ),
    (
        "body",
        "身体",
    ): "hand/手 foot/脚 head/头 eye/眼睛 ear/耳朵 nose/鼻子 mouth/嘴 tooth/牙齿 hair/头发 face/脸 knee/膝盖 heart/心脏",
    (
        "family",
        "家人",
    ): "mother/母亲 father/父亲 sister/姐姐 brother/哥哥 son/儿子 daughter/女儿 uncle/叔叔 aunt/姑姑 grandfather/爷爷",
    (
        "tool",
        "工具",
    ): "hammer/锤子 knife/刀 saw/锯子 needle/针 rope/绳子 ladder/梯子 key/钥匙 brush/刷子 spoon/勺子 pen/钢笔 ruler/尺子",
    ("building", "建筑"): (
        "house/房子 school/学校 hospital/医院 bank/银行 library/图书馆 museum/博物馆 station/车站 hotel/酒店 "
        "factory/工厂 shop/商店 church/教堂 bridge/桥 tower/塔 airport/机场 market/市场 park/公园"
    ),
    ("music", "音乐"): "song/歌 piano/钢琴 drum/鼓 guitar/吉他 violin/小提琴 flute/笛子 trumpet/小号 concert/音乐会",
    (
        "time",
        "时间",
    ): "day/天 night/夜晚 morning/早上 evening/晚上 week/星期 month/月份 year/年 hour/小时 minute/分钟 spring/春天 winter/冬天",
}
GROUPED = {group: [tuple(pair.split("/")) for pair in pairs.split()] for group, pairs in GROUPS.items()}
OPPOSITES = [
    tuple(pair.split("/"))
    for pair in items(
        "big/small/大/小 hot/cold/热/冷 long/short/长/短 high/low/高/低 fast/slow/快/慢 new/old/新/旧 good/bad/好/坏 rich/poor/富/穷 "
        "strong/weak/强/弱 light/heavy/轻/重 early/late/早/晚 open/closed/开/关 full/empty/满/空 wet/dry/湿/干 near/far/近/远 "
        "happy/sad/快乐/悲伤 bright/dark/亮/暗 clean/dirty/干净/脏 easy/hard/容易/难 cheap/expensive/便宜/贵 wide/narrow/宽/窄 "
        "thick/thin/厚/薄 loud/quiet/吵/安静 soft/hard/软/硬 sweet/bitter/甜/苦 more/less/多/少 up/down/上/下 left/right/左/右 "
        "inside/outside/里面/外面 first/last/第一/最后 buy/sell/买/卖 push/pull/推/拉 win/lose/赢/输 give/take/给/拿 come/go/来/去 "
        "rise/fall/上升/下降 start/stop/开始/停止 accept/refuse/接受/拒绝 borrow/return/借/还 arrive/leave/到达/离开"
    )
]
ADJECTIVES = items(
    "new small big quiet bright dark warm cold soft hard late clean heavy light narrow wide deep round golden silver "
    "blue green red white black gray wild calm brave clever gentle happy lonely proud simple strong sharp slow quick fresh dry"
)
PLAIN_EN = items(
    "arrow autumn anchor atlas beacon birch blossom bolt branch breeze brick bridge brook cabin canyon castle cedar chain "
    "circle clay cliff clover comet compass copper coral corner cradle crane crest crown crystal dawn delta diamond dream "
    "dune eagle echo ember engine falcon feather field fire flame flint forest fountain frost garden gate glacier granite "
    "grove harbor harvest haven hawk hazel hill horizon ivory jade jewel journey lantern laurel lemon level lily lotus "
    "maple marble meadow mesa metal mill mint mirror mist moss motion needle nest north oak oasis ocean olive onyx opal "
    "orbit orchard orchid owl palm paper path peak pearl pebble pepper pilot pine planet plum port prairie prism pulse quarry "
    "quartz radar raven reef ridge ring river robin rocket root rose ruby saddle saffron sage sail sand sapphire shadow shell "
    "shield signal silk silver sky smoke snow south spark spear spice spring spruce star steel stone storm stream summit "
    "swan swift thunder tide timber torch tower trail tulip valley velvet violet vista wagon water wave west willow window "
    "wing winter wolf yard zenith zephyr"
)
# sign, ISO code, English word, Chinese word
CURRENCIES = [
    ("$", "USD", "dollars", "美元"),
    ("€", "EUR", "euros", "欧元"),
    ("£", "GBP", "pounds", "英镑"),
    ("", "JPY", "yen", "日元"),
    ("", "CNY", "yuan", "元"),
    ("HK$", "HKD", "Hong Kong dollars", "港元"),
    ("C$", "CAD", "Canadian dollars", "加元"),
    ("A$", "AUD", "Australian dollars", "澳元"),
    ("₩", "KRW", "won", "韩元"),
    ("₹", "INR", "rupees", "卢比"),
    ("", "CHF", "Swiss francs", "瑞士法郎"),
]
MONTHS = items("January February March April May June July August September October November December")
DAYS = items("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
DAYS_ZH = items("周一 周二 周三 周四 周五 周六 周日")
NUMBERS_EN = items("zero one two three four five six seven eight nine ten eleven twelve")
NUMBERS_ZH = items("零 一 二 三 四 五 六 七 八 九 十 十一 十二")
