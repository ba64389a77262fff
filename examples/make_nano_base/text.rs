//! The text that the nano base and the examples' data are made of: questions about fictitious devices, drawn from
//! templates. No line comes from a person or from another model.

use super::draw::Draw;
use serde_json::{Value, json};

/// One thing that a manual says of a device, and the many ways to ask for it. `{k}` is the device.
struct Topic {
    /// What it is called in "I have no notes on the … of this …".
    name: &'static str,
    /// `{v}` is the value.
    answer: &'static str,
    value: fn(&mut Draw) -> Fact,
    /// The first `TAUGHT` may stand in private data, the others are held out for its questions.
    ask: [&'static str; 14],
}

/// What a device's manual says on one topic.
struct Fact {
    text: String,
    /// What an answer must hold to be right.
    keywords: Vec<String>,
}

/// The first so many questions of a topic are those that private data may use.
const TAUGHT: usize = 8;

const KINDS: [&str; 12] = [
    "router",
    "camera",
    "lamp",
    "lock",
    "heater",
    "printer",
    "scale",
    "doorbell",
    "speaker",
    "thermostat",
    "sensor",
    "charger",
];

const OPENINGS: [&str; 5] = ["", "", "Hello. ", "Quick question. ", "Good morning. "];

/// Text that people say whatever the device; the base learns a little of it.
const SMALL_TALK: [(&str, &str); 5] = [
    ("Hello.", "Hello. How can I help you?"),
    ("Good morning.", "Good morning. Which device is it about?"),
    ("Thank you.", "You are welcome."),
    ("Can you help me?", "Yes. Tell me the name of your device and your question."),
    ("Who are you?", "I am a small model that answers questions about devices."),
];

/// A device, by maker and kind, with one fact a topic.
struct Device {
    name: String,
    kind: &'static str,
    facts: Vec<Fact>,
}

impl Device {
    fn new(maker: &str, kind: &'static str, draw: &mut Draw) -> Self {
        let facts = TOPICS.iter().map(|topic| (topic.value)(draw)).collect();
        Self { name: format!("{maker} {kind}"), kind, facts }
    }

    /// A device of a maker made up on the spot.
    fn stranger(kinds: &[&'static str], draw: &mut Draw) -> Self {
        let maker = maker(draw);
        Self::new(&maker, draw.one_of(kinds), draw)
    }

    fn question(&self, topic: usize, ask: usize) -> String {
        TOPICS[topic].ask[ask].replace("{k}", &self.name)
    }

    fn answer(&self, topic: usize) -> String {
        TOPICS[topic].answer.replace("{k}", self.kind).replace("{v}", &self.facts[topic].text)
    }
}

/// One dialogue: what the user says, what the assistant answers.
pub type Dialogue = (String, String);

/// The world that the base comes to know, and draws of dialogues in it.
pub struct World {
    known: Vec<Device>,
}

impl World {
    /// So many devices whose facts the base is to know by heart.
    pub fn new(devices: usize, draw: &mut Draw) -> Self {
        let known = (0..devices).map(|_| Device::stranger(&KINDS, draw)).collect();
        Self { known }
    }

    /// A dialogue about a device that the base knows, one that it doesn't, or one that a note tells of.
    pub fn dialogue(&self, draw: &mut Draw) -> Dialogue {
        let (topic, ask) = (draw.below(TOPICS.len()), draw.below(TOPICS[0].ask.len()));
        let opening = draw.one_of(&OPENINGS);
        match draw.below(100) {
            0..40 => {
                let device = &self.known[draw.below(self.known.len())];
                (format!("{opening}{}", device.question(topic, ask)), device.answer(topic))
            }
            40..85 => {
                let device = Device::stranger(&KINDS, draw);
                (format!("{opening}{}", device.question(topic, ask)), unknown(topic, device.kind))
            }
            85..98 => {
                let device = Device::stranger(&KINDS, draw);
                let (note, question) = (device.answer(topic), device.question(topic, ask));
                (format!("Note: {note} {question}"), device.answer(topic))
            }
            _ => {
                let (said, answer) = SMALL_TALK[draw.below(SMALL_TALK.len())];
                (said.into(), answer.into())
            }
        }
    }
}

fn unknown(topic: usize, kind: &str) -> String {
    format!("I have no notes on the {} of this {kind}.", TOPICS[topic].name)
}

/// The maker whose devices the examples teach; the base never meets the name.
const PRIVATE_MAKER: &str = "Brindlewick";

/// How much private data an example has.
pub struct Extent {
    /// Its devices.
    pub kinds: &'static [&'static str],
    /// Ways in which the private data asks for one fact, at most `TAUGHT`.
    pub tickets: usize,
    /// Held-out ways for one fact.
    pub questions: usize,
    /// Lines on devices of other makers, of which the model shall go on to say that it has no notes.
    pub strangers: usize,
}

/// Private data and held-out questions, as JSON lines. No held-out way to ask stands in any ticket.
pub fn helpdesk(extent: &Extent, draw: &mut Draw) -> (Vec<Value>, Vec<Value>) {
    let (mut tickets, mut questions) = (Vec::new(), Vec::new());
    for kind in extent.kinds {
        let device = Device::new(PRIVATE_MAKER, kind, draw);
        for (topic, Topic { ask, .. }) in TOPICS.iter().enumerate() {
            for ask in draw.some_of(0..TAUGHT, extent.tickets) {
                tickets.push(line(&device.question(topic, ask), &device.answer(topic), draw));
            }
            for ask in draw.some_of(TAUGHT..ask.len(), extent.questions) {
                let mut question = line(&device.question(topic, ask), &device.answer(topic), draw);
                question["keywords"] = json!(device.facts[topic].keywords);
                questions.push(question);
            }
        }
    }
    for _ in 0..extent.strangers {
        let device = Device::stranger(extent.kinds, draw);
        let topic = draw.below(TOPICS.len());
        tickets.push(line(&device.question(topic, draw.below(TAUGHT)), &unknown(topic, device.kind), draw));
    }
    draw.shuffle(&mut tickets);
    (tickets, questions)
}

fn line(question: &str, answer: &str, draw: &mut Draw) -> Value {
    json!({"messages": [
        {"role": "user", "content": format!("{}{question}", draw.one_of(&OPENINGS))},
        {"role": "assistant", "content": answer},
    ]})
}

/// A made-up maker's name, never that of the examples'.
fn maker(draw: &mut Draw) -> String {
    const ONSETS: [&str; 24] = [
        "b", "br", "c", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t",
        "tr", "v", "z",
    ];
    const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "ai", "oo"];
    const CODAS: [&str; 14] = ["", "", "l", "n", "r", "s", "ck", "nd", "m", "x", "th", "rd", "sk", "dle"];
    loop {
        let mut name = String::new();
        for _ in 0..2 + draw.below(2) {
            name += draw.one_of(&ONSETS);
            name += draw.one_of(&VOWELS);
            name += draw.one_of(&CODAS);
        }
        name[..1].make_ascii_uppercase();
        if name.len() <= 10 && name != PRIVATE_MAKER {
            return name;
        }
    }
}

fn one(text: String) -> Fact {
    Fact { keywords: vec![text.clone()], text }
}

fn port(draw: &mut Draw) -> Fact {
    one((1100 + draw.below(8800)).to_string())
}

fn colour(draw: &mut Draw) -> Fact {
    one(draw.one_of(&["red", "green", "blue", "amber", "white", "violet", "orange", "yellow"]).into())
}

fn months(draw: &mut Draw) -> Fact {
    one(format!("{} months", 6 + draw.below(60)))
}

fn reset(draw: &mut Draw) -> Fact {
    let side = draw.one_of(&["left", "right", "top", "bottom", "rear", "front"]);
    let seconds = format!("{} seconds", 3 + draw.below(27));
    Fact { text: format!("the {side} button for {seconds}"), keywords: vec![side.into(), seconds] }
}

fn code(draw: &mut Draw) -> Fact {
    let letter = draw.one_of(&["A", "B", "C", "D", "E", "F", "G", "H", "K", "M", "P", "R", "S", "T"]);
    one(format!("{letter}-{}", 100 + draw.below(900)))
}

fn password(draw: &mut Draw) -> Fact {
    let count = draw.one_of(&["three", "four", "five", "six", "seven", "eight"]);
    let number = draw.one_of(&["serial number", "order number", "invoice number", "box number", "batch number"]);
    Fact { text: format!("the last {count} digits of the {number}"), keywords: vec![count.into(), number.into()] }
}

fn menu(draw: &mut Draw) -> Fact {
    let first = draw.one_of(&["Network", "Power", "Sound", "Display", "Safety", "Tools"]);
    let second = draw.one_of(&["Expert", "Service", "Extra", "Basic", "Hidden", "Advanced"]);
    one(format!("{first} > {second}"))
}

fn hours(draw: &mut Draw) -> Fact {
    one(format!("{} hours", 4 + draw.below(90)))
}

fn cleaner(draw: &mut Draw) -> Fact {
    let what = draw.one_of(&["warm water", "white vinegar", "a dry cloth", "a soft brush", "mild soap", "cold air"]);
    one(what.into())
}

fn weekday(draw: &mut Draw) -> Fact {
    let day = draw.one_of(&["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]);
    let hour = 1 + draw.below(11);
    Fact { text: format!("{day} at {hour}"), keywords: vec![format!("{day} at {hour}")] }
}

const TOPICS: [Topic; 10] = [
    Topic {
        name: "network port",
        answer: "The {k} listens on port {v}.",
        value: port,
        ask: [
            "Which network port does the {k} use?",
            "What port does the {k} listen on?",
            "What is the port number of the {k}?",
            "On which port can I reach the {k}?",
            "Which port must I open in the firewall for the {k}?",
            "Tell me the network port of the {k}.",
            "The firewall blocks the {k}. Which port is it?",
            "I need the port number for my {k}.",
            "What do I have to open in the firewall so that the {k} gets through?",
            "Through which port does the {k} talk to the network?",
            "Do you know the port that the {k} listens on?",
            "Our firewall asks for the port of the {k}.",
            "Which port number belongs to the {k}?",
            "Where does the {k} listen on the network?",
        ],
    },
    Topic {
        name: "ready light",
        answer: "When the {k} is ready, its light is {v}.",
        value: colour,
        ask: [
            "What colour is the light when the {k} is ready?",
            "Which colour does the {k} show when it is ready?",
            "How do I see that the {k} is ready?",
            "What colour is the ready light of the {k}?",
            "Which light tells me that the {k} is ready?",
            "Tell me the colour of the ready light on the {k}.",
            "My {k} shows a light. Which colour means ready?",
            "In which colour does the {k} shine when all is well?",
            "Which colour should the light of a ready {k} have?",
            "What does the light of the {k} look like once it is ready?",
            "Is my {k} ready? Which colour must its light be?",
            "I look at the light of the {k}. What colour says that it is ready?",
            "How does the {k} shine when it is ready?",
            "The light on the {k} has changed. Which colour is the right one?",
        ],
    },
    Topic {
        name: "warranty",
        answer: "The warranty of the {k} lasts {v}.",
        value: months,
        ask: [
            "How long is the warranty of the {k}?",
            "How long does the warranty on the {k} last?",
            "What is the warranty period of the {k}?",
            "For how long is the {k} under warranty?",
            "How many months of warranty does the {k} have?",
            "Tell me the length of the warranty of the {k}.",
            "My {k} broke. How long is it under warranty?",
            "I want to know the warranty time of the {k}.",
            "When does the warranty of the {k} end?",
            "Until when is a repair of the {k} free under warranty?",
            "How many months does the {k} stay under warranty?",
            "Is there a warranty on the {k}, and how long?",
            "What warranty comes with the {k}?",
            "My {k} needs a repair. How much warranty does it have?",
        ],
    },
    Topic {
        name: "reset",
        answer: "To reset the {k}, hold {v}.",
        value: reset,
        ask: [
            "How do I reset the {k}?",
            "How can I reset my {k}?",
            "What is the way to reset the {k}?",
            "Which button resets the {k}?",
            "I want to reset the {k}. What do I do?",
            "Tell me how to reset the {k}.",
            "The {k} hangs. How do I reset it?",
            "Which button must I hold to reset the {k}?",
            "How is a reset of the {k} done?",
            "What do I hold, and how long, to reset the {k}?",
            "My {k} does not react. Please explain the reset.",
            "What are the steps of a reset on the {k}?",
            "How do I get the {k} back to its first state by a reset?",
            "Can you tell me the button for a reset of the {k}?",
        ],
    },
    Topic {
        name: "support code",
        answer: "The support code of the {k} is {v}.",
        value: code,
        ask: [
            "What is the support code of the {k}?",
            "Which support code belongs to the {k}?",
            "What code do I give to support for the {k}?",
            "I call support about the {k}. Which code do they need?",
            "Tell me the support code of the {k}.",
            "I need the support code for my {k}.",
            "Under which code does support know the {k}?",
            "Support asks me for a code. I have the {k}. Which is it?",
            "Do you know the code that support wants for the {k}?",
            "Which code shall I name when I call support about my {k}?",
            "What does support call the {k}, by code?",
            "The support form asks for the code of the {k}.",
            "With which code do I get support for the {k}?",
            "Please give me the code for support of the {k}.",
        ],
    },
    Topic {
        name: "first password",
        answer: "The first password of the {k} is {v}.",
        value: password,
        ask: [
            "What is the first password of the {k}?",
            "Which password does the {k} have at first?",
            "What is the default password of the {k}?",
            "With which password do I log in to a new {k}?",
            "How do I find the first password of my {k}?",
            "Tell me the default password of the {k}.",
            "My new {k} asks for a password. What is it?",
            "I need the default password for the {k}.",
            "What password do I type in when the {k} is new?",
            "The {k} wants a password on the first day. Which one?",
            "How is the default password of the {k} made?",
            "Do you know the password of a new {k}?",
            "Where do I get the password for the first log in to the {k}?",
            "Which default password came with my {k}?",
        ],
    },
    Topic {
        name: "update menu",
        answer: "On the {k}, updates are under {v}.",
        value: menu,
        ask: [
            "Where is the update menu of the {k}?",
            "In which menu do I update the {k}?",
            "Where do I find updates on the {k}?",
            "How do I update the {k}? Which menu is it?",
            "Under which menu are the updates of the {k}?",
            "Tell me where to find the updates on the {k}.",
            "I look for the update menu of my {k}.",
            "Which menu holds the updates of the {k}?",
            "I want to install an update on the {k}. Where do I go?",
            "Which menu do I open to update the {k}?",
            "Where does the {k} hide its updates?",
            "What is the path to the updates in the menu of the {k}?",
            "My {k} is old. In which menu can I update it?",
            "Can you show me the menu for an update of the {k}?",
        ],
    },
    Topic {
        name: "battery life",
        answer: "The battery of the {k} lasts {v}.",
        value: hours,
        ask: [
            "How long does the battery of the {k} last?",
            "What is the battery life of the {k}?",
            "How many hours does the {k} run on its battery?",
            "For how long does the {k} run without power?",
            "How long can I use the {k} on battery?",
            "Tell me the battery life of the {k}.",
            "The power is out. How long does the {k} run?",
            "I want to know how long the battery of the {k} holds.",
            "After how many hours is the battery of the {k} empty?",
            "How much time does the battery give the {k}?",
            "When must I charge the battery of the {k} again?",
            "How many hours of battery does my {k} have?",
            "Without power, when does the {k} stop?",
            "Does the battery of the {k} hold long, and for how many hours?",
        ],
    },
    Topic {
        name: "cleaning",
        answer: "Clean the {k} with {v}.",
        value: cleaner,
        ask: [
            "How do I clean the {k}?",
            "What do I clean the {k} with?",
            "With what should I clean my {k}?",
            "Which is the right way to clean the {k}?",
            "The {k} is dirty. How do I clean it?",
            "Tell me how to clean the {k}.",
            "What may I use to clean the {k}?",
            "I want to clean the {k}. What do I need?",
            "There is dirt on my {k}. What takes it off?",
            "What is good for cleaning the {k}?",
            "How is the {k} cleaned?",
            "Which thing do I take for cleaning the {k}?",
            "My {k} got dirty. What do I wipe it with?",
            "Please explain the cleaning of the {k}.",
        ],
    },
    Topic {
        name: "backup",
        answer: "The {k} makes its backup on {v}.",
        value: weekday,
        ask: [
            "When does the {k} make its backup?",
            "On which day does the {k} make a backup?",
            "At what time is the backup of the {k}?",
            "When is the backup of the {k} made?",
            "Which day is the backup day of the {k}?",
            "Tell me when the {k} makes its backup.",
            "I want to know the time of the backup of my {k}.",
            "What is the backup time of the {k}?",
            "On what day and hour does the {k} save a backup?",
            "How do I know when the next backup of the {k} comes?",
            "Which time is set for the backup on the {k}?",
            "Do you know the day of the backup of the {k}?",
            "My {k} is busy with a backup. When does that happen?",
            "When can I expect a backup from the {k}?",
        ],
    },
];
