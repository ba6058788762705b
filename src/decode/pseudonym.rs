//! Pseudonyms: what stands for identifiers of sessions, tokens and devices, so that events of one action join although
//! nobody who reads them can use the identifier. HMAC-SHA-256: whoever lacks the key cannot try guesses either.

use super::withhold::{keyed, mac};
use crate::{
    digest::hex,
    event::{AuthEvent, Field, Slot, Text},
    record::RawRecord,
};
use hmac::Hmac;
use sha2::Sha256;

/// Pseudonyms begin with it; a class and 32 hexadecimal digits follow: `hmac:session:…`. Under a key of correlation the
/// key's id, 8 hexadecimal digits, stands between them.
pub const PSEUDONYM_PREFIX: &str = "hmac:";

/// The classes: equal identifiers of one class have equal pseudonyms, and those of two classes never.
pub const PSEUDONYM_CLASSES: [&str; 3] = ["session", "token", "device"];

/// Identifiers shorter than this are not looked for within other texts: they would be found by chance.
const MIN_SOUGHT: usize = 8;

/// Identifiers that a reader could replay, each with the class within which equal ones join.
///
/// A session began as its root, and a family of tokens is called after its first one: these join. A session and a token
/// of the same text are two things.
const IDENTIFIERS: [(Field, &str); 5] = [
    (Field::session, PSEUDONYM_CLASSES[0]),
    (Field::root_session, PSEUDONYM_CLASSES[0]),
    (Field::token_id, PSEUDONYM_CLASSES[1]),
    (Field::token_family, PSEUDONYM_CLASSES[1]),
    (Field::device_token, PSEUDONYM_CLASSES[2]),
];

/// The class of a field that holds a replayable identifier.
pub(super) fn class_of(field: Field) -> Option<&'static str> {
    IDENTIFIERS.iter().find(|(f, _)| *f == field).map(|(_, class)| *class)
}

/// Makes pseudonyms under one key.
#[derive(Clone)]
pub struct Pseudonyms {
    keyed: Hmac<Sha256>,
    /// The key's id and a colon; or nothing.
    id: Text,
}

impl Pseudonyms {
    /// Under the key of withheld values: those of topics with `keep = "event"` where no other key is configured.
    pub(super) fn of_withheld(key: &[u8; 32]) -> Self {
        Self { keyed: keyed(key), id: Text::default() }
    }

    /// Under a key of correlation.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keyed: keyed(key), id: Text::from(format!("{}:", key_id(key))) }
    }

    /// `hmac:<class>:<32 hex digits>`: the first 128 bits of HMAC("authseal/pseudonym@1" ‖ 0x00 ‖ class ‖ 0x00 ‖ text).
    pub fn of(&self, class: &str, text: &str) -> Text {
        let mac = mac(&self.keyed, &[b"authseal/pseudonym@1\0", class.as_bytes(), &[0], text.as_bytes()]);
        Text::from(format!("{PSEUDONYM_PREFIX}{class}:{}{}", self.id, hex(&mac[..16])))
    }

    /// Puts pseudonyms in place of the identifiers that could be replayed, wherever the event holds them. True if
    /// one of them stands in the record's key or headers too.
    pub(super) fn put(&self, event: &mut AuthEvent, raw: &RawRecord) -> bool {
        let mut sought: Vec<(Text, Text)> = Vec::new();
        for (field, class) in IDENTIFIERS {
            if let Slot::OptText(Some(text)) = event.slot(field) {
                let pseudonym = self.of(class, text);
                sought.push((std::mem::replace(text, pseudonym.clone()), pseudonym));
            }
        }
        // the longest first: one identifier may be the beginning of another
        sought.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        for field in Field::ALL.iter().filter(|f| class_of(**f).is_none()) {
            match event.slot(*field) {
                Slot::Text(text) | Slot::OptText(Some(text)) => replace(text, &sought),
                Slot::Texts(texts) => texts.iter_mut().for_each(|text| replace(text, &sought)),
                _ => {}
            }
        }
        let all: Vec<(Text, Text)> = event.attributes.iter().map(|(k, v)| (k.into(), v.into())).collect();
        for (key, value) in all {
            let (mut new_key, mut new_value) = (key.clone(), value.clone());
            replace(&mut new_key, &sought);
            match attribute_class(&key) {
                Some(class) => new_value = self.of(class, &value),
                None => replace(&mut new_value, &sought),
            }
            if new_key != key {
                event.attributes.remove(&key);
            }
            if new_key != key || new_value != value {
                event.attributes.insert(new_key, new_value);
            }
        }
        let parts = raw.key.iter().chain(raw.headers.iter().flat_map(|h| [&h.key].into_iter().chain(&h.value)));
        parts.into_iter().any(|part| sought.iter().any(|(text, _)| holds(part, text)))
    }
}

/// The id of a key: the first 32 bits of HMAC("authseal/pseudonym-key@1") under it, in hexadecimal. It derives from the
/// key, so that nobody can give two keys one name: pseudonyms under another key than before show it.
pub fn key_id(key: &[u8; 32]) -> String {
    hex(&mac(&keyed(key), &[b"authseal/pseudonym-key@1"])[..4])
}

/// An attribute of this name holds an identifier that could be replayed.
fn attribute_class(name: &str) -> Option<&'static str> {
    super::guard::names::replayable(name)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes == text.as_bytes()
        || text.len() >= MIN_SOUGHT
            && bytes.windows(text.len()).any(|window| window[0] == text.as_bytes()[0] && window == text.as_bytes())
}

fn replace(text: &mut Text, sought: &[(Text, Text)]) {
    for (from, to) in sought {
        if text == from {
            *text = to.clone();
        } else if from.len() >= MIN_SOUGHT && text.contains(from.as_str()) {
            *text = text.replace(from.as_str(), to).into();
        }
    }
}
