"""Short questions at a desk: two turns may be all of it."""

from corpus.phrases import HOURS, WEEKDAYS
from corpus.script import Script, scenario

LOST = {  # what was lost -> how its owner tells it from others
    "우산": ("손잡이가 나무로 된", "끝이 조금 휜", "꽃무늬가 있는", "이름이 적힌"),
    "지갑": ("가죽으로 된", "동전이 가득 든", "사진이 든", "지퍼가 고장 난"),
    "목도리": ("털실로 짠", "줄무늬가 있는", "끝에 술이 달린"),
    "텀블러": ("뚜껑이 없는", "스티커를 붙인", "로고가 있는"),
    "책가방": ("인형이 달린", "주머니가 많은", "끈이 끊어진"),
    "USB": ("열쇠고리가 달린", "이름표를 붙인", "뚜껑이 없는"),
    "장갑": ("한 짝만 남은", "털이 달린", "손가락이 뚫린"),
}


@scenario("분실물 문의")
def lost_property(s: Script) -> None:
    """Someone asks a desk for a thing left behind: it is there, was handed on, or has not turned up."""
    s.slot("mark", *LOST[s.slot("thing", *LOST)])
    s.slot("color", "검은", "파란", "빨간", "하얀", "노란", "회색")
    s.slot("place", "열람실", "휴게실", "강당", "식당", "탈의실", "주차장", "엘리베이터 앞", "화장실")
    s.slot("time", "어제", "그저께", "어제 오후에", "지난주에", "어젯밤에")
    outcome = s.slot("outcome", "보관", "전달", "없음")
    s.say(
        "A",
        "저기요, {time} {place}에 {color} {thing}{을} 두고 갔는데 못 보셨어요? {mark} 거예요.",
        "혹시 분실물 중에 {mark} {color} {thing} 있나요? {time} {place}에서 잃어버린 것 같아요.",
        "{thing} 좀 찾으러 왔어요. {mark} {color} 건데요, {time} {place}에 놓고 간 것 같아서요.",
    )
    if outcome == "보관":
        s.slot("until", *WEEKDAYS[:6])
        s.slot("hour", *HOURS[5:9])
        s.say(
            "B",
            "네, {color} {thing}{이} 하나 들어왔어요. 저희가 {until}까지 맡아 둘게요. {hour} 전에 찾으러 오세요.",
            "아, 그거 누가 가져다주셨어요. {until} {hour} 전까지 안내 데스크로 오시면 돼요.",
        )
        if s.chance(0.5):
            s.say(
                "A",
                "휴, 다행이다. 아끼는 거였거든요. {until}까지 꼭 갈게요.",
                "정말요? 잃어버린 줄 알고 한참 찾았어요.",
            )
            s.say("B", "네, 오실 때 신분증 하나만 가져오세요.", "하하, 다음부터는 잘 챙기세요.")
        s.refer(
            [
                "{A}{은} {time} {place}에서 잃어버린 {color} {thing}{을} 찾습니다. {B}{은} {until} {hour} 전까지 찾아가라고 합니다.",
                "{A}{은} {time} {place}에 두고 간 {color} {thing}{을} {until} {hour} 전까지 찾아가면 됩니다.",
            ],
            [
                "{B}{은} {A}에게 {mark} {color} {thing}{이} 들어왔다고 알려 주고 {until} {hour} 전에 오라고 합니다.",
                "{B}{은} {A}의 {color} {thing}{을} 보관하고 있으니 {until} {hour} 전에 찾으러 오라고 합니다.",
            ],
            [
                "{A}{이} {place}에서 잃어버린 {color} {thing}{은} {B}{이} {until}까지 보관합니다.",
                "{A}{은} {B}에게 맡겨진 {color} {thing}{을} {until}까지 찾아가면 됩니다.",
            ],
        )
    elif outcome == "전달":
        s.slot("holder", "경비실", "1층 관리 사무소", "학생회실", "지하철역 유실물 센터", "근처 파출소")
        s.slot("moved", "오늘 오전에", "오늘 아침에", "조금 전에", "방금")
        s.say(
            "B",
            "{color} {thing}{은} {moved} {holder}{으로} 보냈어요. 거기에 물어보세요.",
            "음, 있었는데 {moved} {holder}{으로} 넘어갔어요. 그쪽으로 가 보세요.",
        )
        if s.chance(0.5):
            s.say("A", "{holder}요? 몇 시까지 하나요?", "거기까지 가야 해요? 몇 시에 닫는데요?")
            s.say("B", "저녁 6시까지예요. 지금 가시면 될 거예요.", "글쎄요, 전화부터 해 보시는 게 좋겠네요.")
        s.refer(
            [
                "{A}{은} {time} {place}에서 잃어버린 {color} {thing}{을} 찾습니다. {B}{은} 그것을 {moved} {holder}{으로} 보냈다고 합니다.",
                "{A}{이} {place}에 두고 간 {color} {thing}{은} {moved} {holder}{으로} 보내졌습니다.",
            ],
            [
                "{B}{은} {A}에게 {mark} {color} {thing}{이} {holder}에 있으니 그쪽에 물어보라고 합니다.",
                "{B}{은} {A}의 {color} {thing}{을} {moved} {holder}{으로} 넘겼다고 알려 줍니다.",
            ],
            [
                "{A}{은} 잃어버린 {color} {thing}{을} 찾으려면 {holder}에 가야 합니다.",
                "{A}의 {color} {thing}{은} {holder}에 있습니다. {B}{은} 그곳으로 가라고 합니다.",
            ],
        )
    else:
        s.slot("again", "모레", "다음 주", "금요일", "주말", "월요일")
        s.say(
            "B",
            "아직 들어온 게 없네요. 연락처를 남기시고 {again}에 다시 한번 물어봐 주세요.",
            "{color} {thing}{은} 못 봤어요. 번호를 적어 두시면 찾는 대로 연락드리고, 아니면 {again}에 또 오세요.",
        )
        s.say("A", "네, #PhoneNumber#예요. 꼭 좀 부탁드려요.", "#PhoneNumber#로 연락 주세요. 선물받은 거라서요.")
        if s.chance(0.5):
            s.say("B", "네, 적었습니다. 청소하시는 분께도 여쭤볼게요.", "알겠습니다. 너무 걱정하지 마세요.")
        s.refer(
            [
                "{A}{은} {time} {place}에서 {color} {thing}{을} 잃어버렸지만 아직 들어오지 않아 연락처를 남깁니다.",
                "{A}{은} {time} {place}에 두고 간 {color} {thing}{을} 찾지 못하고 {B}에게 연락처를 남깁니다.",
            ],
            ["{B}{은} {A}에게 {mark} {color} {thing}{이} 없다고 하고 {again}에 다시 알아보라고 합니다."],
            [
                "{A}의 {color} {thing}{은} 아직 들어오지 않았고 {A}{은} {B}에게 연락처를 남깁니다.",
                "{A}{은} 잃어버린 {color} {thing}{이} 들어오면 {B}에게서 연락을 받을 것입니다.",
            ],
        )
