"""At the doctor's, the pharmacy, the gym, the vet's and the optician's."""

# A template is a sentence and stays on its line.

from corpus.phrases import HOURS, WEEKDAYS
from corpus.script import Script, scenario

DURATIONS = ("어제부터", "그저께부터", "사흘 전부터", "일주일 전부터", "열흘 전부터", "지난달부터")
MEDICINES = {
    "두통": "진통제",
    "콧물과 재채기": "코감기약",
    "소화 불량": "소화제",
    "목 통증": "목감기약",
    "기침과 가래": "기침약",
    "속쓰림": "위장약",
    "설사": "지사제",
    "피부 가려움": "피부 연고",
    "입안 염증": "구내염 연고",
    "어깨 근육통": "파스",
    "허리 통증": "파스",
}
USES = {"연고": ("바르시", "바르"), "파스": ("붙이시", "붙이")}  # the other medicines are taken: "드시", "먹으"
CARES = {  # what someone must heed -> the medicine that suits
    "운전을 해야 해서": "졸리지 않은",
    "위가 약해서": "속이 편한",
    "임신 중이라서": "임신부도 먹을 수 있는",
    "혈압약을 먹고 있어서": "혈압약과 같이 먹어도 되는",
    "알약을 못 삼켜서": "물약으로 된",
}
SKIN_CARES = {
    "피부가 약해서": "자극이 적은",
    "알레르기가 있어서": "순한 성분의",
    "아기를 안아 줘야 해서": "냄새가 안 나는",
    "손님을 만나는 일을 해서": "눈에 띄지 않는",
}
CHECKUP_ADVICE = {
    "혈압": ("음식을 싱겁게 먹고", "국물을 남기고", "젓갈을 줄이고"),
    "혈당": ("단 음료를 끊고", "밥의 양을 줄이고", "빵과 과자를 줄이고"),
    "콜레스테롤 수치": ("튀긴 음식을 피하고", "채소를 많이 먹고", "기름진 고기를 줄이고"),
    "간 수치": ("술을 끊고", "야식을 줄이고", "술자리를 줄이고"),
    "요산 수치": ("맥주를 끊고", "물을 많이 마시고", "고기를 줄이고"),
}
CHECKUP_TESTS = {
    "혈압": ("심장 초음파 검사", "24시간 혈압 검사", "소변 검사"),
    "혈당": ("당화 혈색소 검사", "소변 검사", "눈 검사"),
    "콜레스테롤 수치": ("심장 CT 검사", "경동맥 초음파 검사"),
    "간 수치": ("간 초음파 검사", "복부 CT 검사", "간염 검사"),
    "요산 수치": ("콩팥 초음파 검사", "소변 검사", "관절 X선 검사"),
}
PETS = {
    "강아지": ("초코", "보리", "콩이", "두부", "별이", "까미"),
    "고양이": ("나비", "치즈", "모모", "구름이", "하루", "까망이"),
    "토끼": ("토토", "당근이", "솜이", "우유"),
}
PET_SYMPTOMS = {  # as the owner says it -> what the vet finds, what helps at home, and how to be sure
    "밥을 통 안 먹": ("잇몸이 부은 것", "부드러운 사료를 주", ("피 검사", "X선 검사", "초음파 검사")),
    "설사를 하": ("간식을 너무 많이 먹은 것", "간식을 끊", ("피 검사", "대변 검사", "초음파 검사")),
    "뒷다리를 절뚝거리": ("바닥에서 미끄러진 것", "바닥에 매트를 놓", ("X선 검사", "관절 검사", "CT 검사")),
    "귀를 계속 긁": ("귀에 염증이 생긴 것", "귀를 자주 닦아 주", ("내시경 검사", "진드기 검사", "세균 검사")),
    "자꾸 기침을 하": ("찬 바람을 쐬어 감기에 걸린 것", "집을 따뜻하게 하", ("X선 검사", "피 검사", "심장 검사")),
    "눈을 잘 못 뜨": ("눈에 먼지가 들어간 것", "눈을 깨끗이 씻겨 주", ("안압 검사", "각막 검사", "눈물 검사")),
    "털이 많이 빠지": ("스트레스를 받은 것", "자주 놀아 주", ("피부 검사", "곰팡이 검사", "호르몬 검사")),
}
SLEEP_TROUBLES = {  # what keeps one awake -> the advice
    "자기 전까지 휴대폰을 보": ("휴대폰을 거실에 두", "잠들기 한 시간 전에 휴대폰을 끄"),
    "커피를 하루에 다섯 잔씩 마시": ("오후에는 커피를 마시지 않", "커피를 한 잔으로 줄이"),
    "낮잠을 두세 시간씩 자": ("낮잠을 자지 않", "낮잠을 20분만 자"),
    "밤늦게 라면을 먹": ("저녁 8시 뒤에는 먹지 않", "야식 대신 따뜻한 우유를 마시"),
    "밤마다 게임을 하": ("밤 10시에는 컴퓨터를 끄", "게임을 주말에만 하"),
    "새벽까지 TV를 보": ("침실에서 TV를 치우", "자기 전에 TV 대신 책을 읽"),
}


@scenario("병원 예약 변경")
def clinic_appointment(s: Script) -> None:
    """A patient asks the clinic's desk for another day; the day may be full, or the visit be cancelled."""
    s.slot("clinic", "내과", "치과", "안과", "피부과", "정형외과", "이비인후과", "산부인과", "한의원")
    s.slot("old_day", *WEEKDAYS[:5])
    s.slot("reason", "갑자기 출장이 잡혀서", "회사 회의가 겹쳐서", "아이가 아파서", "이사 날짜와 겹쳐서", "집에 손님이 오셔서",
           "시험 날과 겹쳐서", "차가 고장 나서")  # fmt: skip
    outcome = s.slot("outcome", "옮김", "취소", "대기")
    s.greet("A", "B")
    s.say(
        "A",
        "{old_day}에 {clinic} 예약한 사람인데요, {reason} 못 갈 것 같아요.",
        "저기, {clinic} {old_day} 예약 때문에 연락드렸어요. {reason} 그날은 어렵겠더라고요.",
        "제가 {old_day}에 {clinic} 진료가 잡혀 있거든요. 그런데 {reason} 갈 수가 없게 됐어요.",
    )
    s.exchange(
        [("B", "아, 그러세요? 생년월일이 어떻게 되세요?"), ("A", "#DateOfBirth#입니다.")],
        [("B", "네, 확인해 볼게요. 연락처가 어떻게 되세요?"), ("A", "#PhoneNumber#로 되어 있을 거예요.")],
        [
            ("B", "성함하고 전화번호 뒷자리 좀 불러 주시겠어요?"),
            ("A", "그냥 번호를 다 부를게요. #PhoneNumber#예요."),
        ],
    )
    if s.chance(0.5):
        s.say("B", "음, 잠시만요. 컴퓨터가 좀 느리네요.", "어, 잠깐만요. 같은 이름이 두 분이 계셔서요.")
        s.detour("A", "B")
        s.say("A", "천천히 하셔도 돼요.", "하하, 네. 급하지 않아요.")
    if outcome == "옮김":
        s.slot("new_day", *WEEKDAYS[:6], unlike="old_day")
        s.slot("hour", *HOURS[:9])
        s.slot("slip", *WEEKDAYS[:6], unlike="new_day")
        s.say("B", "네, 나왔습니다. 언제로 옮겨 드릴까요?", "찾았어요. 그럼 원하시는 날이 있으세요?")
        if s.chance(0.4):
            s.exchange(
                [
                    ("A", "{slip} {hour}에 되나요? 아, 아니, 아니. {slip}{이} 아니라 {new_day}이요."),
                    ("B", "{new_day} {hour} 말씀이시죠? 네, 비어 있어서 바꿔 드렸습니다."),
                ],
                [
                    ("A", "{slip}{은} 어때요?"),
                    ("B", "그날은 원장님이 안 계세요. {new_day} {hour}{은} 비어 있어요."),
                    ("A", "그럼 그때로 해 주세요."),
                    ("B", "네, {new_day} {hour}{으로} 바꿨습니다."),
                ],
            )
        else:
            s.say("A", "{new_day} {hour}{이면} 좋겠는데요.", "혹시 {new_day}에 돼요? {hour}쯤이요.")
            s.say(
                "B",
                "네, {new_day} {hour}{으로} 바꿔 드렸습니다.",
                "마침 비어 있네요. {new_day} {hour}에 오시면 됩니다.",
            )
        s.refer(
            [
                "{A}{은} {reason} {clinic} 예약을 {old_day}에서 {new_day} {hour}{으로} 옮깁니다.",
                "{A}{이} {reason} {old_day} {clinic} 예약에 갈 수 없다고 하자 {B}{은} {new_day} {hour}{으로} 바꿉니다.",
            ],
            [
                "{B}{은} {A}의 요청대로 {clinic} 예약을 {old_day}에서 {new_day} {hour}{으로} 변경해 줍니다.",
                "{A}의 사정을 들은 {B}{은} {old_day} {clinic} 예약을 {new_day} {hour}{으로} 변경해 줍니다.",
            ],
            [
                "{A}{은} {old_day}에 {clinic}에 갈 수 없어서 {new_day} {hour}에 진료를 받기로 합니다.",
                "{clinic} 예약을 바꾸려고 연락한 {A}{은} {new_day} {hour}에 가기로 합니다.",
            ],
        )
    elif outcome == "취소":
        s.slot("again", "나중에", "다음 달에", "일정이 정해지면", "다음 주에")
        s.say("B", "그럼 다른 날로 옮겨 드릴까요?", "다른 날짜를 잡아 드릴까요?")
        s.say(
            "A",
            "아니요, 그냥 취소해 주세요. {again} 다시 연락할게요.",
            "음... 일단 취소할게요. {again} 제가 다시 연락드릴게요.",
        )
        s.say("B", "네, {old_day} 예약은 취소되었습니다.", "알겠습니다. 취소해 드렸어요.")
        s.refer(
            [
                "{A}{은} {reason} {old_day} {clinic} 예약을 취소하고 {again} 다시 연락하기로 합니다.",
                "{A}{은} {reason} {old_day} {clinic} 예약을 취소하며 {again} 다시 연락하겠다고 합니다.",
            ],
            [
                "{B}{은} {A}의 요청에 따라 {old_day} {clinic} 예약을 취소해 줍니다. {A}{은} {again} 다시 연락할 것입니다.",
                "{A}{이} {old_day}에 올 수 없다고 해서 {B}{은} {clinic} 예약을 취소합니다. {A}{은} {again} 연락할 것입니다.",
            ],
            [
                "{A}{은} {old_day}에 {clinic}에 갈 수 없어서 예약을 취소합니다.",
                "{clinic}에 갈 수 없게 된 {A}{은} {old_day} 예약을 취소합니다.",
            ],
        )
    else:
        s.slot("until", "이번 주 금요일", "다음 주 수요일", "다음 주 금요일", "이달 말")
        s.slot("part", "오전", "오후", "저녁")
        s.say(
            "B",
            "어쩌죠, {until}까지는 예약이 다 찼어요. 대기자 명단에 올려 드릴까요?",
            "죄송하지만 {until}까지 빈자리가 없네요. 대기자로 넣어 드릴 수는 있어요.",
        )
        s.say(
            "A",
            "네, {part}에 자리가 나면 연락 주세요.",
            "그렇게 해 주세요. {part}이면 언제든 괜찮아요.",
        )
        s.say("B", "네, {part}에 빈자리가 생기면 바로 연락드리겠습니다.")
        s.refer(
            [
                "{A}{은} {reason} {old_day} {clinic} 예약을 옮기고 싶어 하지만 자리가 없어 {part} 대기자 명단에 오릅니다.",
                "{A}{은} {reason} {clinic} 예약을 바꾸려 하지만 빈자리가 없어서 {part} 대기자로 이름을 올립니다.",
            ],
            [
                "{until}까지 {clinic} 예약이 다 차서 {B}{은} {A}{을} 대기자 명단에 올리고 {part}에 자리가 나면 연락하기로 합니다.",
                "{B}{은} {clinic} 예약이 {until}까지 찼다며 {A}{을} 대기자 명단에 올리고 {part}에 자리가 나면 알려 주기로 합니다.",
            ],
            [
                "{A}{은} {clinic} 예약을 바꾸려 하지만 자리가 없어서 연락을 기다리기로 합니다.",
                "{clinic}에 빈자리가 없어서 {A}{은} 대기자 명단에 이름을 올리고 연락을 기다립니다.",
            ],
        )
    s.farewell("A", "B")


@scenario("약국 상담")
def pharmacy(s: Script) -> None:
    """A customer asks a pharmacist for something against a complaint; some medicines do not suit everyone."""
    medicine = s.slot("medicine", MEDICINES[s.slot("symptom", *MEDICINES)])
    s.slots["polite"], s.slots["plain"] = USES.get(medicine.split()[-1], ("드시", "먹으"))
    s.slot("since", *DURATIONS[:5])
    outcome = s.slot("outcome", "구입", "교체", "병원", "대신")
    s.greet("A", "B")
    for_whom = s.slot("whom", "어머니", "남편", "딸", "아버지", "할머니") if outcome == "대신" else ""
    if for_whom:
        s.say(
            "A",
            "{whom}{이} {since} {symptom} 때문에 고생을 해서요. 약 좀 살 수 있을까요?",
            "제가 아니라 {whom} 약을 사러 왔어요. {since} {symptom}{이} 있대요.",
        )
    else:
        s.say(
            "A",
            "{since} {symptom} 때문에 너무 힘들어요. 좋은 약 좀 없을까요?",
            "{symptom}에 좋은 약 있어요? {since} 계속 이래서요.",
            "저, {since} {symptom}{이} 있는데 어떤 약을 쓰면 좋을까요?",
        )
    s.exchange(
        [("B", "열은 없고요?"), ("A", "네, 열은 없어요.")],
        [("B", "많이 심한가요? 다른 데는요?"), ("A", "다른 데는 괜찮아요. 그것만 그래요.")],
        [("B", "다른 약을 써 보셨어요?"), ("A", "아니요, 그냥 참고 있었어요.")],
    )
    if s.chance(0.5):
        s.say("B", "네, 잠깐 찾아볼게요. 분명히 이쯤에 있었는데.", "음, 어디 보자. 잠시만요.")
        s.detour("A", "B")
        s.say("A", "그래서 약은 있나요?", "하하, 네. 찾으셨어요?")
    if outcome == "병원":
        s.slot("clinic", "큰 병원", "내과", "가까운 병원", "동네 의원")
        s.slot("limit", "내일", "주말", "이틀 뒤", "모레")
        s.say(
            "B",
            "{since} 그러셨으면 약보다 진찰을 받으셔야 해요.",
            "그게 약으로 넘길 일이 아닐 수도 있어요. 원인부터 봐야죠.",
        )
        s.say("A", "아, 그 정도예요? 그냥 약만 주시면 안 돼요?", "병원은 가기 싫은데... 약은 없나요?")
        s.say(
            "B",
            "{medicine}{을} 드릴 수는 있는데요, {limit}까지 안 나으면 꼭 {clinic}에 가세요.",
            "그럼 {medicine}{을} 드릴게요. 대신 {limit}까지 그대로면 {clinic}에 가셔야 합니다.",
        )
        s.say("A", "네, 약속할게요.", "알겠어요, 그때도 아프면 갈게요.")
        s.say("B", "네, 몸조리 잘하세요.", "꼭이요. 참으시면 안 돼요.")
        s.refer(
            [
                "{A}{은} {since} {symptom} 때문에 약국에서 {medicine}{을} 삽니다. {B}{은} {limit}까지 낫지 않으면 {clinic}에 가라고 합니다.",
                "{symptom} 때문에 약국에 온 {A}에게 {B}{은} {medicine}{을} 주면서 {limit}까지 낫지 않으면 {clinic}에 가라고 합니다.",
            ],
            [
                "{B}{은} {A}의 {symptom}에 {medicine}{을} 주지만 {limit}까지 그대로이면 {clinic}에서 진찰을 받으라고 권합니다.",
                "{B}{은} {symptom}{이} 있는 {A}에게 진찰을 권하고, {limit}까지 그대로이면 {clinic}에 가는 조건으로 {medicine}{을} 줍니다.",
            ],
            [
                "{A}{은} {symptom}에 쓸 {medicine}{을} 받고 {limit}까지 낫지 않으면 {clinic}에 가기로 합니다.",
                "{A}{은} 병원에 가기를 꺼려 {medicine}{을} 받지만, {limit}까지 {symptom}{이} 낫지 않으면 {clinic}에 가기로 합니다.",
            ],
        )
    elif outcome == "교체":
        cares = CARES if s.slots["plain"] == "먹으" else SKIN_CARES
        s.slot("kind", cares[s.slot("cause", *cares)])
        s.say("B", "그럼 이 {medicine}{을} 써 보세요. 제일 많이 찾으세요.", "{medicine} 중에는 이게 제일 잘 들어요.")
        s.say(
            "A", "잠깐만요, 제가 {cause} 아무거나 못 쓰는데 괜찮아요?", "저는 {cause} 조심해야 하거든요. 이거 괜찮아요?"
        )
        s.say(
            "B",
            "아, 그러면 안 되겠네요. {kind} {medicine}{으로} 바꿔 드릴게요.",
            "그래요? 그럼 {kind} {medicine}{으로} 드려야겠네요.",
        )
        s.say("A", "네, 그걸로 주세요.", "그건 괜찮은 거죠? 그럼 그걸로 할게요.")
        s.say("B", "네, 얼른 나으세요.", "네, 괜찮습니다. 설명서도 읽어 보시고요.")
        s.refer(
            [
                "{A}{은} {symptom} 때문에 약국에 갔다가 {cause} {kind} {medicine}{으로} 바꿔서 삽니다.",
                "{A}{은} {symptom}에 쓸 약을 찾는데, {cause} 처음 권한 약 대신 {kind} {medicine}{을} 삽니다.",
            ],
            [
                "{B}{은} {symptom}{이} 있는 {A}에게 {medicine}{을} 권하지만 {A}{이} {cause} 조심해야 한다고 하자 {kind} 것으로 바꿔 줍니다.",
                "{A}{이} {cause} 조심해야 한다고 하자 {B}{은} {symptom}에 쓸 {medicine}{을} {kind} 것으로 바꿔 줍니다.",
            ],
            [
                "{B}{은} {A}의 사정을 듣고 {symptom}에 쓸 {kind} {medicine}{을} 줍니다.",
                "{A}{은} {since} {symptom}{이} 있어서 {kind} {medicine}{을} 삽니다.",
            ],
        )
    else:
        s.slot("dose", "하루에 한 번", "하루에 두 번", "하루에 세 번", "아침저녁으로")
        s.slot("days", "이틀", "사흘", "나흘", "닷새", "일주일")
        s.say("B", "그럼 {medicine}{을} 드릴게요.", "이 {medicine}{이} 잘 들을 거예요.")
        s.say("A", "몇 번이나 써야 돼요?", "어떻게 쓰는 거예요?")
        if s.chance(0.35):
            s.slot("wrong", "하루에 네 번", "하루에 다섯 번", "한 시간마다")
            s.say("B", "{wrong}, 아, 제가 잘못 봤네요. {dose} {days} 동안 {polite}면 돼요.")
            s.say("A", "{dose}요? 네, 적어 둘게요.", "{wrong}{이} 아니고 {dose}, {days} 동안이요.")
        else:
            s.say("B", "{dose}, {days} 동안 {polite}면 돼요.", "{days} 동안 {dose} {polite}면 됩니다.")
            s.say("A", "{dose}요? 네, 알겠어요.", "{days}이나 써야 해요? 알겠어요.")
        s.say("B", "네, 그동안 술은 피하시고요.", "맞아요. 그리고 푹 쉬는 게 좋아요.", "네, 서늘한 곳에 두고 쓰세요.")
        if for_whom:
            s.refer(
                [
                    "{A}{은} {since} {symptom}{이} 있는 {whom}{을} 위해 {medicine}{을} 삽니다. {B}{은} {dose} {days} 동안 {plain}라고 합니다.",
                    "{A}{은} {whom}의 {symptom} 때문에 약국에서 {medicine}{을} 삽니다. {days} 동안 {dose} 쓰는 약입니다.",
                ],
                [
                    "{B}{은} {A}의 {whom}{이} {since} {symptom}{이} 있다는 말을 듣고 {medicine}{을} 주며 {days} 동안 {dose} {plain}라고 설명합니다.",
                    "{B}{은} {A}에게 {whom}{이} 쓸 {medicine}{을} 주고 {dose} {days} 동안 {plain}라고 알려 줍니다.",
                ],
                [
                    "{A}{은} {whom}{이} {dose} 쓸 {medicine}{을} 약국에서 삽니다.",
                    "{whom}{이} {symptom}{으로} 힘들어해서 {A}{은} {medicine}{을} 삽니다.",
                ],
            )
        else:
            s.refer(
                [
                    "{A}{은} {since} {symptom} 때문에 약국에서 {medicine}{을} 삽니다. {B}{은} {dose} {days} 동안 {plain}라고 합니다.",
                    "{A}{은} {symptom}{이} 있어서 약국에 옵니다. {B}{은} {medicine}{을} 주며 {days} 동안 {dose} {plain}라고 합니다.",
                ],
                [
                    "{B}{은} {symptom}{이} 있는 {A}에게 {medicine}{을} 주고 {days} 동안 {dose} {plain}라고 설명합니다.",
                    "{A}{이} {since} {symptom}{이} 있다고 하자 {B}{은} {dose} {days} 동안 쓸 {medicine}{을} 줍니다.",
                ],
                [
                    "{A}{은} {symptom} 때문에 {dose} 쓸 {medicine}{을} 삽니다.",
                    "{A}{은} 약국에서 {symptom}에 쓸 {medicine}{을} 사고 쓰는 방법을 듣습니다.",
                ],
            )
    s.farewell("A", "B")


@scenario("헬스장 등록")
def gym_membership(s: Script) -> None:
    """Someone asks about a class at the gym and joins, tries it first, finds it too dear or brings a friend."""
    s.slot("program", "요가", "필라테스", "수영", "PT", "스피닝", "복싱", "줌바", "헬스")
    s.slot("term", "한 달", "두 달", "석 달", "여섯 달", "일 년")
    s.slot("price", "9만 원", "12만 원", "15만 원", "18만 원", "24만 원", "30만 원", "45만 원")
    s.slot("hour", "새벽 6시", "오전 10시", "오후 2시", "저녁 7시", "저녁 8시", "밤 9시")
    s.slot("goal", "살을 빼려고", "허리가 아파서", "체력을 기르려고", "스트레스를 풀려고", "의사가 운동을 권해서")
    outcome = s.slot("outcome", "등록", "체험", "포기", "친구")
    s.greet("A", "B")
    if outcome == "친구":
        s.say("A", "친구하고 같이 {program}{을} 배우고 싶은데요.", "{goal} 친구와 함께 {program}{을} 해 볼까 해요.")
    else:
        s.say(
            "A",
            "{goal} {program}{을} 시작해 볼까 하는데요, 수업이 몇 시에 있어요?",
            "{program} 수업을 좀 알아보고 있어요. {goal}요.",
        )
    s.say("B", "네, 운동은 처음이세요?", "잘 생각하셨어요. 전에 운동하신 적은 있으세요?")
    s.say("A", "작년에 조금 하다가 말았어요.", "아니요, 숨쉬기 운동만 했어요, 하하.", "네, 처음이나 마찬가지예요.")
    s.say(
        "B",
        "괜찮아요. {program}{은} {hour} 수업이 있고, {term}에 {price}{이에요}.",
        "{hour} {program} 수업에 자리가 있네요. {term} 등록하시면 {price}입니다.",
    )
    if s.chance(0.45):
        s.detour("A", "B")
    if outcome == "등록":
        s.slot("extra", "사물함", "운동복", "수건", "주차")
        s.say("A", "{extra}도 포함된 가격인가요?", "그럼 {extra}{은} 따로 내야 하나요?")
        s.say("B", "{extra}{은} 무료로 해 드릴게요.", "지금 등록하시면 {extra}{은} 공짜예요.")
        s.say(
            "A", "좋네요. 그럼 {term} 할게요. 여기 카드요.", "그럼 바로 등록할게요. #CardNumber# 이 카드로 해 주세요."
        )
        s.say("B", "네, 등록됐습니다. {hour}에 뵐게요.", "감사합니다. 첫날에는 조금 일찍 오세요.")
        s.refer(
            [
                "{A}{은} {goal} {hour} {program} 수업에 {term} 등록합니다. 가격은 {price}이고 {extra}{은} 무료입니다.",
                "{A}{은} {goal} {program}{을} 배우기로 하고 {term}에 {price}{을} 내고 {hour} 수업에 등록합니다.",
            ],
            [
                "{B}{은} {A}에게 {term}에 {price}인 {hour} {program} 수업을 소개하고, {extra}{을} 무료로 해 주자 {A}{은} 등록합니다.",
                "{B}{이} {extra}{을} 무료로 해 준다고 하자 {A}{은} {hour} {program} 수업을 {price}에 {term} 등록합니다.",
            ],
            [
                "{A}{은} {price}{을} 내고 {program} 수업을 {term} 동안 듣기로 합니다.",
                "{A}{은} {goal} {program} 수업에 {term} 등록합니다.",
            ],
        )
    elif outcome == "체험":
        s.slot("day", *WEEKDAYS[:6])
        s.say("A", "음, 한 번 해 보고 정해도 되나요?", "제가 잘 따라갈지 모르겠어요. 한 번만 해 볼 수 없을까요?")
        s.say("B", "그럼 {day} 체험 수업에 와 보세요. 무료예요.", "체험 수업이 {day}에 있어요. 돈은 안 받습니다.")
        s.say("A", "{day}이요? 네, {hour}에 올게요.", "좋아요, {day} {hour}에 와 볼게요.")
        s.say("B", "편한 옷만 챙겨 오세요.", "네, 물병 하나 들고 오시면 돼요.")
        s.refer(
            [
                "{A}{은} {goal} {program}{을} 시작하려 합니다. 등록하기 전에 {day} {hour} 무료 체험 수업에 가 보기로 합니다.",
                "{A}{은} {term}에 {price}인 {program} 수업을 바로 등록하지 않고 {day} {hour}에 무료로 체험해 보기로 합니다.",
            ],
            [
                "{B}{은} {A}에게 {program} 수업이 {term}에 {price}이라고 알려 주고 {day} {hour} 무료 체험 수업을 권합니다.",
                "{A}{이} 망설이자 {B}{은} {program} 수업을 등록하기 전에 {day}에 무료로 체험해 보라고 권합니다.",
            ],
            [
                "{A}{은} {day} {hour}에 {program} 체험 수업을 듣고 등록할지 정하기로 합니다.",
                "{program} 수업을 알아보던 {A}{은} {day}에 무료 체험 수업에 가기로 합니다.",
            ],
        )
    elif outcome == "포기":
        s.slot("other", "공원에서 달리기", "집에서 영상을 보고 운동하기", "구청 체육관 알아보기", "계단 오르기")
        s.say("A", "{price}이요? 생각보다 비싸네요.", "아이고, {term}에 {price}{은} 좀 부담스러워요.")
        s.say("B", "기간이 길수록 할인이 많이 돼요.", "지금이 할인 기간이라 그나마 싼 거예요.")
        s.say(
            "A",
            "그래도 안 되겠어요. 당분간은 {other}부터 해 볼게요.",
            "좀 더 생각해 볼게요. 우선 {other}부터 해야겠어요.",
        )
        s.say("B", "네, 마음이 바뀌면 언제든 오세요.", "그러세요. 다음에 또 할인할 때 알려 드릴게요.")
        s.refer(
            [
                "{A}{은} {goal} {program} 수업을 알아보지만 {term}에 {price}{은} 비싸다고 생각해서 등록하지 않습니다.",
                "{A}{은} {program} 수업이 {term}에 {price}이라는 말을 듣고 비싸서 등록을 미룹니다.",
            ],
            [
                "{B}{은} {A}에게 {term}에 {price}인 {program} 수업을 소개하지만 {A}{은} 부담스러워서 {other}부터 하기로 합니다.",
                "{B}{이} 할인을 내세우지만 {A}{은} {program} 수업의 가격이 부담스러워서 {other}부터 하기로 합니다.",
            ],
            [
                "{A}{은} {program} 수업이 비싸서 등록하지 않고 {other}부터 하기로 합니다.",
                "{price}{이} 부담스러운 {A}{은} {program} 수업 대신 {other}부터 하기로 합니다.",
            ],
        )
    else:
        s.slot("off", "10퍼센트", "15퍼센트", "20퍼센트", "30퍼센트")
        s.say("A", "두 명이 같이 하면 할인이 돼요?", "친구랑 둘이 등록하면 좀 깎아 주시나요?")
        s.say("B", "네, 두 분이 오시면 {off} 할인해 드려요.", "그럼요, 두 분이면 {off} 깎아 드립니다.")
        s.say("A", "오, 그럼 친구한테 물어보고 {hour} 수업으로 할게요.", "좋네요. 친구와 상의해서 같이 올게요.")
        s.say("B", "네, 기다리겠습니다.", "네, 자리가 차기 전에 오세요.")
        s.refer(
            [
                "{A}{은} 친구와 함께 {program}{을} 배우려고 가격을 묻습니다. 두 명이 등록하면 {off} 할인을 받을 수 있습니다.",
                "{A}{은} 친구와 {program} 수업을 들으려 합니다. {B}{은} {term}에 {price}이고 둘이면 {off} 할인된다고 합니다.",
            ],
            [
                "{B}{은} {A}에게 친구와 함께 {program} 수업에 등록하면 {off} 할인해 준다고 합니다. {A}{은} 친구와 상의하기로 합니다.",
                "{B}{은} {A}에게 {hour} {program} 수업은 {term}에 {price}이고 두 명이면 {off} 할인해 준다고 설명합니다.",
            ],
            [
                "{A}{은} 친구와 같이 {off} 할인을 받고 {program} 수업에 등록할 생각입니다.",
                "두 명이면 {off} 할인된다는 말에 {A}{은} 친구와 상의하여 {program} 수업에 등록하려 합니다.",
            ],
        )
    s.farewell("A", "B")


@scenario("건강 검진 결과")
def checkup(s: Script) -> None:
    """A doctor explains the results of a check-up: nothing wrong, other habits, another test or medicine."""
    outcome = s.slot("outcome", "정상", "습관", "검사", "약")
    problem = s.slot("problem", *CHECKUP_ADVICE)
    s.slot(
        "later",
        *(
            ("여섯 달 뒤에", "일 년 뒤에", "내년 봄에", "내년 가을에")
            if outcome == "정상"
            else ("한 달 뒤에", "두 달 뒤에", "석 달 뒤에", "여섯 달 뒤에")
        ),
    )
    s.slot(
        "walk",
        "매일 30분씩 걷기",
        "매일 계단 오르기",
        "일주일에 세 번 수영",
        "일주일에 세 번 자전거 타기",
        "저녁마다 산책",
        "아침마다 체조",
    )
    s.exchange(
        [("A", "어서 오세요. 이쪽에 앉으세요."), ("B", "네, 선생님. 결과가 나왔다고 해서 왔어요.")],
        [("A", "안녕하세요, 오래 기다리셨죠?"), ("B", "아니요, 괜찮아요. 검진 결과는 어떤가요?")],
        [("A", "들어오세요. 지난주에 검진받으셨죠?"), ("B", "네, 떨려서 잠도 못 잤어요. 어떻게 나왔나요?")],
    )
    if s.chance(0.5):
        s.detour("A", "B")
    if outcome == "정상":
        s.say(
            "A",
            "걱정 많이 하셨나 봐요. {problem}{을} 포함해서 모두 정상입니다.",
            "좋은 소식이에요. {problem}도 정상이고 다른 문제도 없어요.",
        )
        s.say(
            "B",
            "휴, 다행이네요. 사실 {problem}{이} 제일 걱정이었거든요.",
            "정말요? 작년에는 높다고 해서 {problem}{을} 많이 걱정했거든요.",
        )
        s.say("A", "그동안 관리를 잘하셨네요. 혹시 뭐 따로 하신 게 있어요?", "비결이 뭐예요? 많이 좋아지셨어요.")
        s.say("B", "{walk} 말고는 별로 없어요.", "글쎄요, {walk}{을} 꾸준히 했어요.")
        s.say(
            "A",
            "바로 그거예요. {walk}{을} 계속하시고 {later} 다시 오세요.",
            "역시 그 덕분이네요. {walk}{은} 계속하시고 다음 검진은 {later} 받으러 오세요.",
        )
        s.refer(
            [
                "{A}{은} {B}에게 {problem}{을} 포함한 검진 결과가 모두 정상이라고 합니다. {B}{은} {later} 다시 검진을 받을 것입니다.",
                "{A}{은} {B}의 검진 결과가 모두 정상이라고 알려 주고 {walk}{을} 계속하라고 합니다.",
            ],
            [
                "{B}{은} {problem}{을} 걱정했지만 {A}에게서 검진 결과가 정상이라는 말을 듣습니다. {walk}{을} 꾸준히 한 덕분입니다.",
                "{problem}{이} 걱정이던 {B}{은} 검진 결과가 정상이라는 말을 듣고 {walk}{을} 꾸준히 해 왔다고 합니다.",
            ],
            [
                "{B}의 검진 결과는 정상이며 {A}{은} {later} 다시 오라고 합니다.",
                "{A}{은} 검진 결과가 정상인 {B}에게 {walk}{을} 계속하고 {later} 다시 오라고 합니다.",
            ],
        )
    elif outcome == "습관":
        s.slot("advice", *CHECKUP_ADVICE[problem])
        s.say("A", "다른 건 괜찮은데 {problem}{이} 조금 높네요.", "음, {problem}{이} 기준보다 높게 나왔어요.")
        s.say("B", "약을 먹어야 하나요?", "아, 심각한 건가요? 설마 약까지 먹어야 해요?")
        s.say(
            "A",
            "아직은 아니에요. 우선 {advice} {walk}{을} 해 보세요.",
            "그 정도는 아니고요, {advice} {walk}{을} 시작하시면 좋겠어요.",
        )
        s.say(
            "B",
            "쉽지 않겠지만 해 볼게요.",
            "그게 제일 어려운데... 노력해 볼게요.",
            "지난번에도 하다가 말았는데, 이번에는 꼭 할게요.",
        )
        s.say("A", "{later} 다시 검사해서 얼마나 내려갔는지 봅시다.", "그럼 {later} 다시 한번 재 보죠.")
        s.refer(
            [
                "{A}{은} {B}에게 {problem}{이} 높으니 {advice} {walk}{을} 하라고 합니다. {B}{은} {later} 다시 검사를 받을 것입니다.",
                "{A}{은} {problem}{이} 높게 나온 {B}에게 약 대신 {advice} {walk}{을} 하라고 권합니다.",
            ],
            [
                "{B}{은} 검진에서 {problem}{이} 높게 나왔습니다. 아직 약은 필요 없지만 {advice} {walk}{을} 해야 합니다.",
                "{problem}{이} 높게 나온 {B}{은} {A}의 조언대로 {advice} {walk}{을} 하고 {later} 다시 검사하기로 합니다.",
            ],
            [
                "{B}{은} {problem}{이} 높아서 {A}에게서 {advice} {walk}{을} 하라는 조언을 듣습니다.",
                "{A}{은} {B}의 {problem}{이} 높다며 {walk}{을} 권하고 {later} 다시 검사하자고 합니다.",
            ],
        )
    elif outcome == "검사":
        s.slot("test", *CHECKUP_TESTS[problem])
        s.slot("day", *WEEKDAYS[:6])
        s.slot("hour", *HOURS[:3], "오전 8시")
        s.say(
            "A",
            "{problem}{이} 좀 높아서 {test}{을} 한 번 더 해 보는 게 좋겠어요.",
            "{problem} 때문에 {test}{이} 필요할 것 같습니다.",
        )
        s.say("B", "네? 어디가 많이 안 좋은 건가요?", "아이고, 큰 병은 아니겠죠?")
        s.say("A", "너무 걱정하지 마세요. 확실히 해 두려는 거예요.", "아니에요, 그냥 확인하는 거니까 안심하세요.")
        s.say("B", "그럼 언제 하면 될까요?", "네... 빨리 하고 싶은데 언제 되나요?")
        s.say(
            "A",
            "{day} {hour}에 자리가 있네요. 아침은 드시지 말고 오세요.",
            "{day} {hour}에 오세요. 아침은 드시면 안 됩니다.",
        )
        s.refer(
            [
                "{A}{은} {B}의 {problem}{이} 높아서 {day} {hour}에 {test}{을} 받으라고 합니다.",
                "{A}{은} {problem}{이} 높게 나온 {B}에게 {day} {hour}에 아무것도 먹지 말고 와서 {test}{을} 받으라고 합니다.",
            ],
            [
                "{B}{은} 검진에서 {problem}{이} 높게 나와 걱정하고, {A}{은} 확인을 위해 {day} {hour}에 {test}{을} 하자고 안심시킵니다.",
                "{A}{은} 걱정하는 {B}{을} 안심시키며 {problem}{이} 높으니 {day}에 {test}{을} 해 보자고 합니다.",
            ],
            [
                "{B}{은} {problem}{이} 높아서 {day}에 {test}{을} 추가로 받게 됩니다.",
                "{problem} 때문에 {B}{은} {day} {hour}에 {test}{을} 받기로 합니다.",
            ],
        )
    else:
        s.slot("dose", "하루에 한 번", "아침마다 한 알씩", "자기 전에 한 알씩", "아침저녁으로")
        s.slot("worry", "평생 먹어야 하는지", "부작용이 있는지", "술을 마셔도 되는지", "커피와 같이 먹어도 되는지")
        reply = {
            "평생 먹어야 하는지": "수치가 내려가면 끊을 수 있어요",
            "부작용이 있는지": "처음에 조금 어지러울 수 있어요",
            "술을 마셔도 되는지": "약을 먹는 동안에는 안 됩니다",
            "커피와 같이 먹어도 되는지": "약은 물하고만 드세요",
        }
        s.say(
            "A",
            "{problem}{이} 작년보다 더 올랐네요. 이제 약을 드셔야겠어요.",
            "{problem}{이} 많이 높아서 약을 처방해 드릴게요.",
        )
        s.say("B", "꼭 먹어야 하나요? {worry} 궁금해요.", "약이요? {worry} 알고 싶어요.")
        s.say(
            "A",
            reply[s.slots["worry"]] + ". {dose} 드시고 {later} 봅시다.",
            reply[s.slots["worry"]] + ". 잊지 말고 {dose} 드세요. 그리고 {later} 다시 오세요.",
        )
        s.say("B", "{dose}요. 휴대폰에 알람을 맞춰야겠네요.", "네, 빼먹지 않을게요.")
        s.say("A", "네, 약은 처방전을 가지고 약국에서 받으세요.", "그래요, 혈색은 좋으시니까 너무 걱정하지 마시고요.")
        s.refer(
            [
                "{A}{은} {problem}{이} 높은 {B}에게 약을 처방하며 {dose} 먹고 {later} 다시 오라고 합니다.",
                "{A}{은} {B}의 {problem}{이} 높아서 약을 {dose} 먹으라고 합니다. {B}{은} {worry} 묻습니다.",
            ],
            [
                "{B}{은} {problem}{이} 높아서 약을 처방받고 {worry} 묻습니다. {A}{은} {dose} 먹고 {later} 오라고 합니다.",
                "{problem}{이} 높게 나온 {B}{은} {A}에게서 {dose} 먹는 약을 처방받고 {later} 다시 오기로 합니다.",
            ],
            [
                "{B}{은} {problem} 때문에 {dose} 약을 먹고 {later} 다시 진료를 받을 것입니다.",
                "{problem}{이} 높은 {B}{은} 약을 {dose} 먹게 됩니다.",
            ],
        )
    s.farewell("B", "A")


@scenario("동물병원 진료")
def veterinary(s: Script) -> None:
    """An owner brings a pet to the vet, sometimes with a second member of the family who knows better."""
    s.slot("name", *PETS[s.slot("pet", *PETS)])
    s.slots["cause"], s.slots["care"], tests = PET_SYMPTOMS[s.slot("symptom", *PET_SYMPTOMS)]
    s.slot("since", *DURATIONS[:4])
    s.slot("age", "두 살", "세 살", "다섯 살", "일곱 살")
    outcome = s.slot("outcome", "약", "입원", "검사", "집")
    s.greet("A", "B")
    s.say(
        "A",
        "저희 집 {pet} {name}{이} {since} {symptom}거든요. 걱정이 돼서 데려왔어요.",
        "{pet} 때문에 왔는데요, {name}{이} {since} {symptom}더라고요.",
        "선생님, 우리 {pet} 좀 봐 주세요. {name}{이} {since} {symptom}거든요.",
    )
    s.say("B", "아이고, {name}{이} 몇 살이에요?", "저런, {name} 나이가 어떻게 되나요?")
    if s.chance(0.4):
        s.slot("slip", "한 살", "네 살", "여섯 살", "여덟 살")
        s.exchange(
            [("A", "{slip}이었나... 갑자기 헷갈리네요."), ("C", "아니에요, {age}이에요. 제가 생일을 적어 놨거든요.")],
            [("A", "음, 올해 {slip}일걸요."), ("C", "에이, {slip}이 아니라 {age}이죠.")],
            [("A", "어, 갑자기 생각이 안 나네요."), ("C", "{age}이에요. 저번 달에 생일잔치도 했잖아요.")],
        )
        s.say("B", "하하, {age}이군요. 어디 한번 볼게요.", "네, {age}이군요. {name}{아}, 잠깐만 가만히 있자.")
    else:
        s.say("A", "{age}이에요. 평소에는 아주 건강했는데요.", "올해 {age}이에요. 아픈 적이 별로 없었어요.")
        s.say("B", "네, {name}{아}, 잠깐만 가만히 있자. 착하지.", "어디 한번 볼게요. 아이고, 순하네요.")
    if s.chance(0.4):
        s.detour("A", "B")
    s.say("A", "선생님, 뭐가 문제일까요?", "많이 아픈 건가요?", "휴, 별일 아니면 좋겠는데요.")
    if outcome == "약":
        s.slot("days", "사흘", "나흘", "닷새", "일주일")
        s.slot("dose", "하루에 한 번", "하루에 두 번", "아침저녁으로")
        s.say(
            "B",
            "{cause} 같네요. 약을 지어 드릴 테니 {dose} {days} 동안 먹이세요.",
            "보니까 {cause} 같아요. 약을 {dose}, {days}만 먹이면 나을 거예요.",
        )
        s.say("A", "얘가 약을 잘 안 먹는데 어떡하죠?", "약을 주면 자꾸 뱉는데요.")
        s.say("B", "물에 타서 조금씩 먹이면 돼요.", "손가락으로 입 안쪽에 살짝 넣어 주세요.")
        s.say("A", "아, 그러면 되겠네요. {days} 동안 먹여 볼게요.", "네, {dose}요. 그렇게 할게요.")
        s.say("B", "네, 다 먹여도 그대로면 다시 오세요.")
        s.refer(
            [
                "{A}{은} {since} {symptom}는 {pet} {name}{을} 동물병원에 데려옵니다. {B}{은} 약을 {dose} {days} 동안 먹이라고 합니다.",
                "{A}{이} {symptom}는 {pet} {name}{을} 데려오자 {B}{은} 약을 {days} 동안 {dose} 먹이라고 합니다.",
            ],
            [
                "{B}{은} {A}의 {pet} {name}{이} {symptom}는 까닭이 {cause} 같다며 {dose} 먹일 약을 지어 줍니다.",
                "{B}{은} {A}의 {pet} {name}{을} 진찰하고 {cause} 같다며 {days} 동안 먹일 약을 줍니다.",
            ],
            [
                "{A}{은} {pet} {name}에게 {days} 동안 {dose} 약을 먹이기로 합니다.",
                "{A}{은} {symptom}는 {name}에게 {dose} 먹일 약을 동물병원에서 받습니다.",
            ],
        )
    elif outcome == "입원":
        s.slot("nights", "하룻밤", "이틀", "사흘", "나흘")
        s.slot("price", "12만 원", "15만 원", "20만 원", "25만 원", "30만 원")
        s.say(
            "B",
            "{cause} 같은데 기운이 너무 없네요. {nights} 입원시키는 게 좋겠습니다.",
            "{cause} 같아요. 수액을 맞으면서 {nights} 동안 입원하는 게 좋겠어요.",
        )
        s.say("A", "입원이요? 비용이 얼마나 드나요?", "아이고, 그 정도예요? 돈은 얼마쯤 들까요?")
        s.say("B", "{price}쯤 생각하시면 됩니다.", "검사비까지 해서 {price}쯤이에요.")
        s.say(
            "A",
            "네, 입원시킬게요. 연락은 #PhoneNumber#로 주세요.",
            "할 수 없죠, 입원해야죠. 무슨 일 있으면 #PhoneNumber#로 연락 주세요.",
        )
        s.say("B", "네, 면회는 언제든 오셔도 됩니다.", "걱정하지 마세요. 저희가 잘 볼게요.")
        s.refer(
            [
                "{A}{은} {since} {symptom}는 {pet} {name}{을} 동물병원에 데려와 {nights} 입원시키기로 합니다.",
                "{A}{이} {symptom}는 {pet} {name}{을} 데려오자 {B}{은} {nights} 입원시키자고 합니다. 비용은 {price}쯤입니다.",
            ],
            [
                "{B}{은} {A}에게 {pet} {name}{이} {cause} 같다며 {nights} 입원을 권합니다. {A}{은} {price}쯤 드는 입원에 동의합니다.",
                "{B}{은} {pet} {name}{이} {nights} 입원해야 하고 {price}쯤 든다고 말하고, {A}{은} 이에 동의합니다.",
            ],
            [
                "{A}의 {pet} {name}{은} {nights} 입원하게 되고 비용은 {price}쯤 듭니다.",
                "{A}{은} {price}쯤 들여 {pet} {name}{을} {nights} 입원시킵니다.",
            ],
        )
    elif outcome == "검사":
        s.slot("test", *tests)
        s.slot("when", "한 시간 뒤", "오늘 저녁", "내일 오전", "내일 오후", "모레")
        s.say(
            "B",
            "겉으로 봐서는 모르겠네요. {test}{을} 해 봐야겠습니다.",
            "글쎄요, 확실히 알려면 {test}{이} 필요해요.",
        )
        s.say("A", "{name}{이} 무서워할 텐데 오래 걸리나요?", "아픈 검사는 아니죠? 얼마나 걸려요?")
        s.say("B", "금방 끝나요. 결과는 {when}에 알려 드릴게요.", "10분이면 돼요. 다만 결과는 {when}에 나옵니다.")
        s.say("A", "네, 그럼 해 주세요.", "알겠어요. 검사해 주세요. {name}{아}, 조금만 참자.")
        s.say("B", "네, 이쪽으로 데려오세요.", "네, 여기 잠깐 앉아 계세요.")
        s.refer(
            [
                "{A}{은} {since} {symptom}는 {pet} {name}{을} 동물병원에 데려와 {test}{을} 받게 합니다.",
                "{A}{이} {symptom}는 {pet} {name}{을} 데려오자 {B}{은} {test}{을} 하고 {when}에 결과를 알려 주기로 합니다.",
            ],
            [
                "{B}{은} {A}에게 {pet} {name}{이} {symptom}는 까닭을 알려면 {test}{이} 필요하다고 합니다. 결과는 {when}에 나옵니다.",
                "{B}{은} {symptom}는 {A}의 {pet} {name}에게 {test}{을} 해 보자고 하고 {A}{은} 동의합니다.",
            ],
            [
                "{A}의 {pet} {name}{은} {test}{을} 받고 결과는 {when}에 나옵니다.",
                "{A}{은} {pet} {name}의 {test} 결과를 {when}에 듣게 됩니다.",
            ],
        )
    else:
        s.slot("limit", "사흘", "나흘", "일주일", "열흘")
        s.say(
            "B",
            "큰 병은 아니고 {cause} 같아요. 집에서 {care}는 게 제일 좋습니다.",
            "{cause} 같네요. 약은 필요 없고요, {care}는 게 좋아요.",
        )
        s.say("A", "아, 다행이다. 약은 안 먹여도 되는 거죠?", "정말요? 주사도 안 맞아도 돼요?")
        s.say(
            "B",
            "네, 괜찮습니다. 그래도 {limit} 지나도 그대로면 다시 데려오세요.",
            "그럼요. {limit} 동안 지켜보시고 안 나으면 또 오세요.",
        )
        s.say("A", "네, {care}는 거요. 오늘부터 해 볼게요.", "알겠습니다. {name}{아}, 들었지? 집에 가자.")
        s.say("B", "하하, {name} 표정이 벌써 밝아졌네요.", "네, 잘 돌봐 주세요.")
        s.refer(
            [
                "{A}{은} {since} {symptom}는 {pet} {name}{을} 동물병원에 데려옵니다. {B}{은} 집에서 {care}는 것이 좋다고 합니다.",
                "{A}{이} {symptom}는 {pet} {name}{을} 데려오자 {B}{은} 약 없이 {care}는 것이 좋다고 합니다.",
            ],
            [
                "{B}{은} {A}의 {pet} {name}{이} {cause} 같다며 {care}고 {limit} 동안 지켜보라고 합니다.",
                "{B}{은} {A}에게 {pet} {name}{이} {cause} 같으니 {care}도록 권하고 {limit} 안에 낫지 않으면 다시 오라고 합니다.",
            ],
            [
                "{A}의 {pet} {name}{은} 약을 먹지 않아도 되며 {limit} 동안 지켜보기로 합니다.",
                "{A}{은} {symptom}는 {name}에게 약을 먹이지 않고 {limit} 동안 지켜볼 것입니다.",
            ],
        )
    s.farewell("A", "B")


@scenario("수면 상담")
def sleep_counselling(s: Script) -> None:
    """Someone who sleeps badly talks to a counsellor and leaves with advice, a diary, a referral or a next date."""
    advice = SLEEP_TROUBLES[s.slot("habit", *SLEEP_TROUBLES)]
    s.slot("advice", *advice)
    s.slot("worry", "회사 일", "시험", "이사 준비", "취업 걱정", "가족 문제", "새 학교", "발표 준비")
    s.slot("since", "보름 전부터", "한 달 전부터", "두 달 전부터", "지난 학기부터", "올해 초부터")
    outcome = s.slot("outcome", "조언", "일지", "병원", "재상담")
    s.greet("A", "B")
    s.say(
        "A",
        "{since} 잠을 통 못 자요. {worry} 때문인지 누우면 생각이 많아져요.",
        "요즘 {worry} 때문에 잠이 안 와요. {since} 계속 그래요.",
        "저, {since} {worry} 때문에 새벽에 자꾸 깨서 힘들어요.",
    )
    s.say("B", "많이 지치셨겠네요. 자기 전에는 보통 뭘 하세요?", "저런, 낮에도 힘드시겠어요. 하루를 어떻게 보내세요?")
    s.say(
        "A", "음, {habit}는 편이에요.", "사실은... {habit}거든요. 안 좋은 줄은 아는데요.", "그냥 뭐, {habit}고 그래요."
    )
    if s.chance(0.3):
        s.exchange(
            [("B", "몇 시간쯤 주무세요?"), ("A", "네 시간이요. 아니, 어제는 세 시간도 못 잤어요.")],
            [("B", "꿈도 많이 꾸세요?"), ("A", "네, 쫓기는 꿈을 자주 꿔요.")],
            [("B", "그럼 낮에 졸리지 않으세요?"), ("A", "졸리죠. 버스에서 서서 잔 적도 있어요.")],
        )
    elif s.chance(0.5):
        s.say("B", "아, 그러시군요. 적어 둘게요.", "네, 그런 분들 많으세요.")
        s.detour("A", "B")
        s.say("A", "아무튼 빨리 푹 자고 싶어요.", "하하, 얘기가 딴 데로 샜네요.")
    if outcome == "조언":
        s.slot(
            "extra",
            "따뜻한 물로 씻",
            "매일 같은 시간에 일어나",
            "걱정을 종이에 적",
            "조용한 음악을 듣",
            "가볍게 스트레칭을 하",
        )
        s.say(
            "B", "우선 {advice}는 것부터 해 보죠. {extra}는 것도 좋아요.", "{advice}고, {extra}는 습관을 들여 보세요."
        )
        s.say("A", "그게 말처럼 쉽지 않던데요.", "정말 그것만으로 나아질까요?", "약은 안 먹어도 되나요?")
        s.say("B", "두 주만 해 보시면 달라지실 거예요.", "처음 며칠이 힘들지, 곧 익숙해지실 거예요.")
        s.say("A", "네, 오늘 밤부터 해 볼게요.", "알겠습니다. 한번 해 볼게요.")
        s.say("B", "너무 애쓰지 마시고 편하게 하세요.", "네, 잘하실 거예요.")
        s.refer(
            [
                "{A}{은} {since} {worry} 때문에 잠을 못 잡니다. {B}{은} {advice}고 {extra}는 것이 좋다고 합니다.",
                "{A}{이} {worry} 때문에 잠을 못 잔다고 하자 {B}{은} {advice}고 {extra}는 습관을 들이라고 합니다.",
            ],
            [
                "{B}{은} {habit}는 {A}에게 잠을 잘 자려면 {advice}고 {extra}도록 조언합니다.",
                "{B}{은} 잠을 못 자는 {A}에게 {advice}도록 권하며 {extra}는 것도 좋다고 합니다.",
            ],
            [
                "{A}{은} 잠을 잘 자기 위해 {B}의 조언대로 {advice}고 {extra}는 것을 시작하려 합니다.",
                "{worry} 때문에 잠을 못 자는 {A}{은} {advice}기로 합니다.",
            ],
        )
    elif outcome == "일지":
        s.slot("days", "일주일", "열흘", "두 주", "한 달")
        s.slot("record", "잠든 시간과 깬 시간", "자기 전에 한 일", "꿈의 내용", "하루에 마신 음료", "그날의 기분")
        s.say(
            "B",
            "그럼 {days} 동안 {record}{을} 적어 보시겠어요?",
            "수면 일지를 써 보면 좋겠어요. {days} 동안 {record}{을} 적는 거예요.",
        )
        s.say("A", "일지요? 제가 좀 게을러서...", "매일요? 안 빼먹을 수 있을지 모르겠네요.")
        s.say(
            "B",
            "길게 쓰실 필요 없어요. 대신 {advice}는 것도 같이 해 보세요.",
            "한 줄이면 돼요. 그리고 {advice}는 게 좋겠어요.",
        )
        s.say("A", "한 줄이면 할 수 있겠네요. 써 볼게요.", "네, {days}만 해 볼게요.")
        s.say("B", "다 쓰시면 #Email#로 보내 주세요.", "네, 같이 보면서 얘기해요.")
        s.refer(
            [
                "{A}{은} {worry} 때문에 {since} 잠을 못 잡니다. {B}의 권유로 {days} 동안 {record}{을} 적기로 합니다.",
                "{A}{이} {worry} 때문에 잠을 못 잔다고 하자 {B}{은} {days} 동안 {record}{을} 적으라고 합니다.",
            ],
            [
                "{B}{은} {habit}는 {A}에게 {days} 동안 {record}{을} 적고 {advice}도록 권합니다.",
                "{B}{은} 잠을 못 자는 {A}에게 {days} 동안 {record}{을} 기록하고 {advice}도록 조언합니다.",
            ],
            [
                "{A}{은} 잠을 못 자는 까닭을 찾으려고 {days} 동안 {record}{을} 기록하기로 합니다.",
                "{A}{은} {days} 동안 {record}{을} 적고 {advice}기로 합니다.",
            ],
        )
    elif outcome == "병원":
        s.slot("clinic", "수면 클리닉", "신경과", "정신건강의학과", "대학 병원")
        s.slot("sign", "숨이 막히는", "다리가 저린", "심장이 빨리 뛰는", "머리가 깨질 듯이 아픈", "식은땀이 나는")
        s.say("B", "혹시 몸에 다른 증상은 없으세요?", "그것 말고 몸이 불편한 데는 없으세요?")
        s.say("A", "자다가 {sign} 느낌이 들 때가 있어요.", "음, 밤에 가끔 {sign} 느낌이 있어요.")
        s.say(
            "B",
            "그건 상담만으로는 부족해요. {clinic}에 가 보시는 게 좋겠습니다.",
            "그렇다면 {clinic}에서 검사를 받아 보셔야 해요.",
        )
        s.say("A", "병원까지요? 좀 겁나네요.", "{clinic}요? 거기까지 가야 하나요?")
        s.say(
            "B", "원인을 알면 오히려 마음이 편해져요. 소개장을 써 드릴게요.", "걱정 마세요. 제가 소개장을 써 드릴게요."
        )
        s.say("A", "네, 그럼 {clinic}에 가 볼게요.", "알겠어요. 이번 주 안에 가 볼게요.")
        s.say("B", "네, 그동안 {advice}는 것도 잊지 마시고요.", "잘 생각하셨어요. 그때까지 {advice}는 것도 좋고요.")
        s.refer(
            [
                "{A}{은} {since} 잠을 못 자고 {sign} 느낌이 있습니다. {B}{은} {clinic}에 가라고 합니다.",
                "{A}{이} {worry} 때문에 잠을 못 자고 {sign} 느낌이 있다고 하자 {B}{은} {clinic}에 가 보라고 합니다.",
            ],
            [
                "{B}{은} 밤에 {sign} 느낌이 있다는 {A}에게 소개장을 써 주며 {clinic}에 가 보라고 합니다.",
                "{B}{은} 잠을 못 자고 {sign} 느낌이 있는 {A}에게 {clinic}{을} 권하고 소개장을 써 줍니다.",
            ],
            [
                "{A}{은} {worry} 때문에 잠을 못 자서 {B}의 소개로 {clinic}에 가기로 합니다.",
                "{A}{은} {sign} 느낌이 있어서 {B}의 권유로 {clinic}에 가 볼 것입니다.",
            ],
        )
    else:
        s.slot("day", *WEEKDAYS[:6])
        s.slot("hour", *HOURS[:9])
        s.say(
            "B",
            "이야기를 더 들어 봐야겠네요. 일단 {advice}는 것부터 해 보시고 다시 만나죠.",
            "원인이 여러 가지 같아요. 우선 {advice}는 것부터 해 보고 다시 얘기해요.",
        )
        s.say("A", "네, 저도 몇 번 더 오고 싶어요. 언제가 좋을까요?", "좋아요. 언제 다시 올까요?")
        s.say("B", "다음 주 {day} {hour}{은} 어떠세요?", "{day} {hour}에 시간이 비는데요.")
        if s.chance(0.4):
            s.slot("slip", *WEEKDAYS[:6], unlike="day")
            s.say("A", "{slip}이라고 하셨죠?", "{slip} {hour}요? 괜찮아요.")
            s.say("B", "아니요, {slip}이 아니라 {day}이요.", "아, {slip} 말고 {day}이에요. {hour}{은} 맞고요.")
        s.say("A", "네, {day} {hour}에 올게요.", "{day}이면 괜찮아요. {hour}에 뵐게요.")
        s.say("B", "네, 그때 봬요. 그동안 {advice}는 거, 잊지 마세요.", "좋습니다. 달력에 적어 둘게요.")
        s.refer(
            [
                "{A}{은} {worry} 때문에 잠을 못 자서 상담을 받고 {day} {hour}에 다시 오기로 합니다.",
                "{A}{은} {since} 잠을 못 잡니다. {B}{은} {advice}고 {day} {hour}에 다시 만나자고 합니다.",
            ],
            [
                "{B}{은} {habit}는 {A}에게 {advice}도록 조언하고 {day} {hour}에 다시 상담하기로 합니다.",
                "{B}{은} 잠을 못 자는 {A}에게 {advice}도록 권하고 다음 상담을 {day} {hour}{으로} 잡습니다.",
            ],
            [
                "{worry} 때문에 잠을 못 자는 {A}{은} {day}에 {B}{과} 다시 상담하기로 합니다.",
                "{A}{은} {advice}기로 하고 {B}{과} {day} {hour}에 다시 만나기로 합니다.",
            ],
        )
    s.farewell("A", "B")


@scenario("안경점 방문")
def optician(s: Script) -> None:
    """A customer has new glasses made, has the old ones mended, takes contact lenses or only has the eyes tested."""
    outcome = s.slot("outcome", "안경", "수리", "렌즈", "검사만")
    s.greet("A", "B")
    if outcome == "수리":
        s.slot("accident", "아이가 밟아서", "깔고 앉아서", "축구공에 맞아서", "가방에 눌려서", "계단에서 떨어뜨려서")
        s.slot("part", "안경다리", "코받침", "안경테", "왼쪽 렌즈", "오른쪽 렌즈", "나사")
        s.slot("price", "8천 원", "1만 5천 원", "2만 원", "3만 5천 원", "4만 9천 원")
        s.slot("wait", "30분", "한 시간", "두 시간", "하루", "이틀")
        s.say(
            "A",
            "안경이 망가졌어요. {accident} {part}{이} 이렇게 됐네요.",
            "{accident} {part}{이} 망가졌는데 고칠 수 있을까요?",
        )
        s.exchange(
            [("B", "아이고, 제대로 망가졌네요. 언제 사신 거예요?"), ("A", "글쎄요, 기억도 안 나네요. 오래 썼거든요.")],
            [("B", "어디 볼까요? 다치신 데는 없고요?"), ("A", "네, 몸은 괜찮은데 안 보여서 큰일이에요.")],
        )
        if s.chance(0.4):
            s.say("B", "잠시만요, 부품이 있는지 볼게요.", "네, 부품을 찾아볼게요.")
            s.detour("A", "B")
            s.say("A", "부품은 있나요?", "그런데 이거 고칠 수는 있는 거죠?")
        s.say(
            "B",
            "네, {part}만 갈면 돼요. {wait} 걸리고 {price}입니다.",
            "{part}{을} 바꾸면 되겠네요. {price}이고 {wait}쯤 걸려요.",
        )
        s.say("A", "그럼 고쳐 주세요. 그동안 조심히 다녀야겠네요.", "휴, 새로 사는 것보다 낫네요. 그렇게 해 주세요.")
        s.say("B", "네, 다 되면 #PhoneNumber#로 연락드릴게요. 이 번호 맞으시죠?", "네, 맡기고 가세요.")
        s.refer(
            [
                "{A}{은} {accident} 망가진 안경을 {price}에 고치기로 합니다. {part}{을} 바꾸는 데 {wait} 걸립니다.",
                "{A}{은} {accident} 망가진 {part}{을} 고치러 안경점에 갑니다. 수리비는 {price}입니다.",
            ],
            [
                "{B}{은} {A}의 안경을 보고 {part}{을} {price}에 바꿔 주겠다고 합니다. {wait} 걸릴 것입니다.",
                "{B}{은} {A}의 망가진 안경을 고치려면 {part}{을} 바꿔야 하고 {wait} 걸린다고 합니다.",
            ],
            [
                "{A}{은} {part}{이} 망가져서 {price}에 수리를 맡깁니다.",
                "{accident} 안경이 망가진 {A}{은} {wait} 걸리는 수리를 맡깁니다.",
            ],
        )
        s.farewell("A", "B")
        return
    s.slot(
        "reason",
        "칠판이 잘 안 보여서",
        "신문 글씨가 흐려 보여서",
        "밤에 운전할 때 눈이 부셔서",
        "눈이 쉽게 피로해서",
        "안경을 잃어버려서",
        "화면을 보면 머리가 아파서",
    )
    if outcome == "렌즈":
        s.say(
            "A",
            "안경 말고 콘택트렌즈를 해 보고 싶어요. {reason} 알아보는 중이에요.",
            "{reason} 이번에는 콘택트렌즈를 써 볼까 해요.",
        )
    else:
        s.say("A", "{reason} 왔어요. 눈 검사부터 해 주실래요?", "요즘 {reason} 고생이에요. 시력부터 좀 봐 주세요.")
    s.say("B", "네, 여기 앉아서 앞을 보세요. 제일 아래 줄 보이세요?", "네, 한쪽 눈을 가리고 읽어 보세요.")
    s.say("A", "음, 3인가요? 아니, 8인 것 같아요.", "7, 2... 그다음은 모르겠어요.", "하나도 안 보이는데요, 하하.")
    if s.chance(0.4):
        s.say("B", "네, 됐습니다. 기계가 결과를 내는 동안 잠깐 기다려 주세요.", "수고하셨어요. 조금만 기다려 주세요.")
        s.detour("A", "B")
        s.say("A", "결과는 나왔나요?", "아, 결과가 나왔나 봐요.")
    s.slot("eye", "왼쪽 눈", "오른쪽 눈", "두 눈")
    if outcome == "안경":
        s.slot("color", "검은", "갈색", "은색", "금색", "투명한", "파란")
        s.slot("price", "7만 원", "9만 원", "13만 원", "16만 원", "22만 원")
        s.slot("shape", "둥근", "네모난", "가벼운", "얇은")
        s.slot("day", *WEEKDAYS[:6])
        s.say(
            "B",
            "{eye} 도수가 많이 바뀌었네요. 안경을 새로 하셔야겠어요.",
            "{eye} 시력이 떨어졌어요. 새 안경이 필요하시겠네요.",
        )
        s.say(
            "A",
            "그럴 것 같았어요. {color} {shape} 테로 보여 주세요.",
            "역시 그렇군요. 이 {color} {shape} 테는 얼마예요?",
        )
        s.say(
            "B",
            "이건 렌즈까지 해서 {price}{이에요}. 잘 어울리시네요.",
            "네, {color} {shape} 테는 렌즈를 포함해서 {price}입니다.",
        )
        s.say("A", "좋네요, 이걸로 할게요. 언제 찾으러 오면 돼요?", "가격도 괜찮네요. 이걸로 주세요. 언제 되나요?")
        s.say("B", "{day}에 오시면 됩니다.", "{day}까지 만들어 놓을게요.")
        s.refer(
            [
                "{A}{은} {reason} 안경점에서 {color} {shape} 테의 새 안경을 {price}에 맞춥니다.",
                "{A}{은} {reason} {price}에 {color} {shape} 안경을 맞추고 {day}에 찾기로 합니다.",
            ],
            [
                "{B}{은} {A}의 {eye} 시력이 바뀌었다며 새 안경을 권합니다. {A}{은} {color} {shape} 안경을 골라 {day}에 찾기로 합니다.",
                "{B}{은} {eye} 시력이 바뀐 {A}에게 {price}에 {color} {shape} 안경을 만들어 주기로 합니다.",
            ],
            [
                "{A}{은} {color} {shape} 안경을 {price}에 사고 {day}에 찾을 것입니다.",
                "{A}{이} 고른 {color} {shape} 안경은 {price}이고 {day}에 완성됩니다.",
            ],
        )
    elif outcome == "렌즈":
        s.slot("kind", "하루용", "두 주용", "한 달용", "난시용")
        s.slot("price", "2만 원", "3만 5천 원", "4만 9천 원", "6만 원", "8만 원")
        s.slot("hours", "네 시간", "여섯 시간", "여덟 시간")
        s.say(
            "B",
            "{eye} 상태를 보니 {kind} 렌즈가 좋겠어요. {price}입니다.",
            "처음이시면 {kind} 렌즈를 권해 드려요. 가격은 {price}{이에요}.",
        )
        s.say("A", "하루에 얼마나 낄 수 있어요?", "눈이 아프지는 않을까요? 오래 껴도 되나요?")
        s.say(
            "B",
            "하루에 {hours}까지만 끼세요. 잘 때는 꼭 빼셔야 해요.",
            "{hours}{을} 넘기지 마세요. 낀 채로 주무시면 안 되고요.",
        )
        s.say("A", "{hours}이요? 네, 조심할게요. 그걸로 주세요.", "네, 알겠어요. 그럼 {kind}{으로} 할게요.")
        s.say("B", "끼는 방법을 알려 드릴 테니 손부터 씻고 오세요.", "네, 한번 껴 보고 가세요.")
        s.refer(
            [
                "{A}{은} {reason} 안경점에서 {kind} 콘택트렌즈를 {price}에 삽니다. {hours} 넘게 끼면 안 됩니다.",
                "{A}{은} {reason} {price}에 {kind} 콘택트렌즈를 사기로 합니다.",
            ],
            [
                "{B}{은} {A}에게 {price}인 {kind} 렌즈를 권하며 하루에 {hours}까지만 끼라고 합니다.",
                "{B}{은} {A}에게 {kind} 콘택트렌즈를 권하고, {hours} 넘게 끼거나 낀 채로 자지 말라고 합니다.",
            ],
            [
                "{A}{은} 하루에 {hours}까지 낄 수 있는 {kind} 콘택트렌즈를 삽니다.",
                "{A}{은} {B}의 권유로 {kind} 콘택트렌즈를 {price}에 삽니다.",
            ],
        )
    else:
        s.slot(
            "advice",
            "화면에서 자주 눈을 떼라",
            "먼 곳을 자주 보라",
            "인공 눈물을 넣으라",
            "방을 밝게 하라",
            "한 시간마다 눈을 쉬게 하라",
        )
        s.slot("later", "석 달 뒤에", "여섯 달 뒤에", "일 년 뒤에")
        s.say("B", "시력은 그대로예요. {eye}{이} 많이 건조할 뿐이네요.", "도수는 괜찮은데 {eye}{이} 좀 피로해 보여요.")
        s.say("A", "그럼 새로 안 맞춰도 돼요?", "정말요? 안경을 바꿔야 하는 줄 알았어요.")
        s.say(
            "B",
            "네, 지금은 필요 없어요. 제가 늘 {advice}고 말씀드리는데, 그게 제일 좋아요.",
            "안 바꾸셔도 됩니다. 대신 {advice}고 권하고 싶네요.",
        )
        s.say("A", "돈 굳었네요, 하하. 그렇게 해 볼게요.", "아, 그렇군요. 노력해 볼게요.")
        s.say("B", "네, 시력 검사는 {later} 다시 받으세요.", "그리고 {later} 한 번 더 오세요. 검사는 무료예요.")
        s.refer(
            [
                "{A}{은} {reason} 시력을 검사하지만 새 안경은 필요 없다는 말을 듣습니다. {B}{은} {advice}고 합니다.",
                "{A}{은} {reason} 안경점에 가지만 시력은 그대로입니다. {later} 다시 검사를 받기로 합니다.",
            ],
            [
                "{B}{은} {A}의 시력을 검사하고 새 안경이 필요 없으니 {advice}고 조언합니다.",
                "{B}{은} {A}에게 시력은 그대로라며 {advice}고 하고 {later} 다시 검사하라고 합니다.",
            ],
            [
                "{A}의 시력은 그대로여서 새 안경을 맞추지 않고 {later} 다시 검사를 받을 것입니다.",
                "{A}{은} 새 안경을 맞추지 않아도 됩니다. {B}{은} {advice}고 조언합니다.",
            ],
        )
    s.farewell("A", "B")


@scenario("다이어트 계획")
def diet(s: Script) -> None:
    """Friends talk about losing weight: they make a plan, bet, are talked out of it, or a third one joins."""
    s.slot("goal", "3킬로그램", "4킬로그램", "5킬로그램", "6킬로그램", "8킬로그램")
    s.slot("event", "동생 결혼식", "여름휴가", "졸업 사진 촬영", "동창회", "건강 검진", "수영 대회", "친구 생일 파티")
    s.slot(
        "method",
        "저녁을 굶",
        "밀가루를 끊",
        "하루에 만 보씩 걷",
        "과자를 끊",
        "줄넘기를 천 번씩 하",
        "채소만 먹",
        "아침마다 달리",
    )
    outcome = s.slot("outcome", "함께", "내기", "반대", "실패")
    s.greet("A", "B", formal=False)
    s.say(
        "A",
        "나 {event} 전까지 {goal} 빼려고. 진짜야.",
        "{event}{이} 얼마 안 남았잖아. 그래서 {goal} 빼기로 했어.",
        "야, 나 살 뺄 거야. {event} 때까지 {goal}!",
    )
    s.exchange(
        [("B", "또? 작년에도 그 말 했잖아."), ("A", "아니, 이번엔 진짜야. 어제부터 {method}기 시작했어.")],
        [("B", "오, 어떻게 뺄 건데?"), ("A", "일단 {method}고 있어. 힘들긴 한데 버텨야지.")],
        [("B", "하하, 지난번에도 이틀 만에 포기했잖아."), ("A", "이번엔 달라. {method}고 있거든.")],
        [("B", "빼긴 뭘 빼. 지금도 괜찮은데."), ("A", "안 돼, 벌써 시작했어. 요즘 {method}고 있다고.")],
    )
    if s.chance(0.4):
        s.detour("B", "A", formal=False)
    if outcome == "함께":
        s.slot("sport", "자전거", "배드민턴", "수영", "등산", "요가", "달리기")
        s.slot("day", *WEEKDAYS)
        s.slot("time", "아침 7시", "저녁 7시", "저녁 8시", "밤 9시")
        s.say("B", "그것만 해서는 안 빠져. 나랑 {sport} 같이 하자.", "혼자 하면 또 그만둘걸. {sport} 같이 할래?")
        s.say("A", "정말? 언제 할 건데?", "오, 좋아. 언제?")
        if s.chance(0.5):
            s.say("C", "무슨 얘기야? 나도 끼워 줘.", "{sport} 한다고? 나도 할래.")
            s.say("B", "그래, 다 같이 하자. {day} {time} 어때?", "좋지. 그럼 셋이 {day} {time}에 만나자.")
            s.say("A", "좋아, 늦은 사람이 음료수 사기.", "알았어, {day} {time}. 다들 도망가지 마.")
            s.say("C", "하하, 네가 제일 늦을 것 같은데.", "오케이, {time}.")
            s.refer(
                [
                    "{A}{은} {event} 전까지 {goal}{을} 빼려고 합니다. {A}, {B}, {C}{은} {day} {time}에 같이 {sport}{을} 하기로 합니다.",
                    "{A}{이} {event} 때까지 {goal}{을} 빼겠다고 하자 세 사람은 {day} {time}에 {sport}{을} 같이 하기로 합니다.",
                ],
                [
                    "{B}{은} 살을 빼려는 {A}에게 {sport}{을} 같이 하자고 합니다. {C}도 함께 {day} {time}에 만나기로 합니다.",
                    "{B}{은} {A}에게 {sport}{을} 권하고, {C}까지 {day} {time}에 모이기로 합니다.",
                ],
                [
                    "{A}의 다이어트를 위해 세 사람은 {day}에 {sport}{을} 하기로 합니다.",
                    "{A}{은} {B}, {C}{과} 함께 {day} {time}에 {sport}{을} 할 것입니다.",
                ],
            )
            s.farewell("A", "B", formal=False)
            return
        s.say("B", "{day} {time}에 하자. 매주.", "{day} {time} 어때? 그때 사람이 별로 없어.")
        s.say("A", "{day}? 좋아, 꼭 갈게.", "{time}... 그래, 해 보자.")
        s.say("B", "안 나오면 벌금이다.", "하하, 이번엔 진짜 빼자.")
        s.refer(
            [
                "{A}{은} {event} 전까지 {goal}{을} 빼려고 {B}{과} {day} {time}에 {sport}{을} 하기로 합니다.",
                "{A}{이} {event} 때까지 {goal}{을} 빼겠다고 하자 {B}{은} {day} {time}에 {sport}{을} 같이 하자고 합니다.",
            ],
            [
                "{B}{은} 살을 빼려는 {A}에게 {sport}{을} 권하고, 둘은 {day} {time}에 하기로 합니다.",
                "{B}{은} 혼자 {method}는 {A}에게 {sport}{을} 같이 하자고 합니다. 둘은 {day} {time}에 만날 것입니다.",
            ],
            [
                "{A}{과} {B}{은} {A}의 다이어트를 위해 {day}에 {sport}{을} 같이 하기로 합니다.",
                "{A}{은} {B}{과} 함께 {day} {time}에 {sport}{을} 하며 살을 뺄 생각입니다.",
            ],
        )
    elif outcome == "내기":
        s.slot("weeks", "3주", "한 달", "두 달", "100일")
        s.slot("prize", "고기", "뷔페 식사권", "영화표", "운동화", "5만 원", "치킨 열 마리", "노트북 가방")
        s.say("B", "못 믿겠는데? 그럼 내기할래?", "말만 하지 말고 나랑 내기하자.")
        s.say("A", "좋아, 뭐 걸래?", "내기? 자신 있지. 뭐 걸 건데?")
        s.say("B", "{prize} 어때? {weeks} 안에 {goal} 빼면 내가 낼게.", "{weeks} 안에 {goal} 못 빼면 {prize}, 어때?")
        s.say("A", "콜. 대신 내가 이기면 네가 내는 거다.", "좋아, 진 사람이 내기로 하는 거지? 약속했다.")
        s.say("B", "알았어, 약속.", "하하, 벌써 이긴 것 같은데. 약속해.")
        s.refer(
            [
                "{A}{은} {event} 전까지 {goal}{을} 빼려 합니다. {A}{과} {B}{은} {weeks} 안에 뺄 수 있는지 {prize}{을} 걸고 내기합니다.",
                "{A}{이} {event} 때까지 {goal}{을} 빼겠다고 하자 {B}{은} {prize}{을} 걸고 {weeks} 안에 뺄 수 있는지 내기하자고 합니다.",
            ],
            [
                "{B}{은} {A}의 다이어트를 믿지 못해서 {weeks} 안에 {goal}{을} 뺄 수 있는지 {prize} 내기를 합니다.",
                "{B}{은} {A}에게 {weeks} 안에 {goal}{을} 빼는 것에 {prize}{을} 걸자고 하고 {A}{은} 받아들입니다.",
            ],
            [
                "{A}{과} {B}{은} {A}{이} {weeks} 안에 살을 뺄 수 있는지를 두고 {prize}{을} 겁니다.",
                "{A}{은} {weeks} 안에 {goal}{을} 빼지 못하면 {B}에게 져서 {prize}{을} 내야 합니다.",
            ],
        )
    elif outcome == "반대":
        s.slot("harm", "어지러워서 쓰러질", "머리카락이 빠질", "무릎을 다칠", "위가 상할", "금방 다시 찔", "병이 날")
        s.slot(
            "instead",
            "조금씩 골고루 먹",
            "잠을 푹 자",
            "일주일에 세 번만 운동하",
            "천천히 오래 씹어 먹",
            "의사와 먼저 상담하",
        )
        s.say("B", "그러다 {harm} 수도 있어. 너무 심하게 하지 마.", "야, 그렇게 하면 {harm}걸. 그만둬.")
        s.say("A", "그럼 어떡해? 시간이 없단 말이야.", "아, 그래도 빨리 빼고 싶은데.")
        s.say("B", "차라리 {instead}는 게 나아. 나도 그렇게 뺐어.", "급할수록 {instead}는 게 좋대.")
        s.say(
            "A",
            "음... 알았어. {method}는 건 그만할게. {instead}는 걸로 하지 뭐.",
            "그건 좀 느릴 텐데... 그래도 네 말대로 {instead}는 게 낫겠다.",
        )
        s.say("B", "잘 생각했어. 지금도 보기 좋아.", "그래, 건강이 먼저지.")
        s.refer(
            [
                "{A}{은} {event} 전까지 {goal}{을} 빼려 하지만 {B}의 말을 듣고 {instead}기로 합니다.",
                "{A}{은} {event} 때까지 {goal}{을} 빼려고 무리하다가 {B}{이} 말려서 {instead}기로 합니다.",
            ],
            [
                "{B}{은} {method}는 {A}에게 {harm} 수 있다며 {instead}는 것이 낫다고 합니다.",
                "{B}{은} {A}에게 {method}다가는 {harm} 수 있으니 {instead}도록 조언합니다.",
            ],
            [
                "{A}{은} {method}는 것을 그만두고 {B}의 조언대로 {instead}기로 합니다.",
                "{A}{은} 살을 빼려고 {method}는 대신 {instead}기로 합니다.",
            ],
        )
    else:
        s.slot("food", "떡볶이", "피자", "치킨", "라면", "케이크", "삼겹살", "도넛")
        s.slot("again", "내일부터", "다음 주부터", "월요일부터", "다음 달부터")
        s.exchange(
            [("B", "근데 너 어제 {food} 먹지 않았어?"), ("A", "들켰네. {food}{은} 참을 수가 없었어.")],
            [("B", "그럼 이 {food}{은} 안 먹을 거지?"), ("A", "어? {food}? 음... 그건 못 참지. 한 입만.")],
            [("B", "잠깐, 가방에 있는 그 {food}{은} 뭐야?"), ("A", "아, 이건... 냄새가 너무 좋아서 그만.")],
        )
        s.say("B", "하하, 그럴 줄 알았어. 그럼 다이어트는?", "이럴 줄 알았다. 다이어트는 끝난 거야?")
        s.say("A", "{again} 다시 하면 되지.", "아니야, {again} 진짜로 할 거야.")
        s.say("B", "그 말도 백 번은 들었다.", "그래, 응원은 할게.")
        s.refer(
            [
                "{A}{은} {event} 전까지 {goal}{을} 빼려 하지만 {food}{을} 참지 못하고 {again} 다시 시작하겠다고 합니다.",
                "{A}{은} {event} 때까지 {goal}{을} 빼겠다고 하면서도 {food}{을} 참지 못해 {again} 다시 하기로 합니다.",
            ],
            [
                "{B}{은} {method}는 {A}{이} {food}{을} 참지 못하자 놀리고, {A}{은} {again} 다시 다이어트를 하겠다고 합니다.",
                "{B}{은} 다이어트를 한다는 {A}{이} {food}에 넘어가자 놀립니다. {A}{은} {again} 다시 하겠다고 합니다.",
            ],
            [
                "{A}의 다이어트는 {food} 때문에 실패하고 {again} 다시 시작될 예정입니다.",
                "{A}{은} {food}{을} 참지 못해서 다이어트를 {again} 다시 하려 합니다.",
            ],
        )
    s.farewell("A", "B", formal=False)
