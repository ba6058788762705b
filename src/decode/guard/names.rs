//! What a name says of its field: that it holds a biometric template or image, or an identifier that could be
//! replayed. Names are read word by word, so that `surface_image`, `device_fingerprint` and `face_image_id` pass.

use super::super::fail::cut;

/// Longer names are judged by their first bytes.
const MAX_NAME: usize = 96;
const MAX_WORDS: usize = 12;

/// Something of a body that a field can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    None,
    /// Any.
    Plain,
    /// A fingerprint: also what TLS clients, keys and devices have.
    Finger,
    /// Parts whose "print" is a template: voiceprint, faceprint.
    Printed,
    /// The iris: its "code" is a template.
    Iris,
    /// The word biometric itself.
    Biometric,
}

/// How surely a name says that its field holds the material itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Strength {
    /// It does not.
    #[default]
    None,
    /// It may hold the material, or a word about it: the size of the value decides.
    Weak,
    /// It does.
    Strong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Noun {
    #[default]
    None,
    Strong,
    Weak,
    /// Strong behind "biometric", else weak.
    Sample,
    /// Strong behind voice, face, iris, vein.
    Print,
    /// Strong behind iris.
    Code,
}

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Class {
    part: Part,
    noun: Noun,
    /// Speaks of a device's or a key's fingerprint.
    technical: bool,
    /// Names something about the material: its id, format, score.
    about: bool,
    /// What is in the field, and in what it holds.
    pub strength: Strength,
}

impl Class {
    /// What the name says of a field within a field of class `outer`.
    pub fn within(self, outer: Self) -> Self {
        if self.about {
            return Self { strength: Strength::None, ..self };
        }
        let part = if self.part == Part::None { outer.part } else { self.part };
        let own = strength(part, self.noun, self.technical || outer.technical);
        Self { strength: self.strength.max(own).max(outer.strength), ..self }
    }

    /// Whether names within the field mean what they mean elsewhere.
    pub fn is_clear(self) -> bool {
        self.part == Part::None && self.strength == Strength::None
    }
}

fn strength(part: Part, noun: Noun, technical: bool) -> Strength {
    match (part, noun) {
        (Part::None, _) | (_, Noun::None) => Strength::None,
        (_, Noun::Strong) => Strength::Strong,
        (Part::Biometric, Noun::Sample) | (Part::Printed | Part::Iris, Noun::Print) => Strength::Strong,
        (Part::Iris, Noun::Code) => Strength::Strong,
        (_, Noun::Print | Noun::Code) => Strength::None,
        (Part::Finger, Noun::Weak | Noun::Sample) if technical => Strength::None,
        (_, Noun::Weak | Noun::Sample) => Strength::Weak,
    }
}

/// Words without which a name says nothing of a body, with the letters they are made of.
const ROOTS: [(&str, u32); 13] = [
    root("biometric"),
    root("finger"),
    root("thumb"),
    root("palm"),
    root("hand"),
    root("fac"),
    root("iri"),
    root("retina"),
    root("voice"),
    root("vein"),
    root("minutia"),
    root("selfie"),
    root("mugshot"),
];

const _: () = {
    let mut i = 0;
    while i < ROOTS.len() {
        assert!(ROOTS[i].1 & RARE != 0 || ROOTS[i].1 & PAIR == PAIR, "a root would be overlooked");
        i += 1;
    }
};

const fn root(word: &'static str) -> (&'static str, u32) {
    (word, letters(word.as_bytes()))
}

/// Which letters occur: bit 0 is `a`. Other characters fall on bits without meaning.
const fn letters(name: &[u8]) -> u32 {
    let (mut mask, mut i) = (0_u32, 0);
    while i < name.len() {
        mask |= 1_u32 << ((name[i] | 0x20).wrapping_sub(b'a') & 31);
        i += 1;
    }
    mask
}

/// Every root has one of the first letters, or both of the others.
const RARE: u32 = letters(b"fbvmh");
const PAIR: u32 = letters(b"ir");

/// What a name says, by itself. Nearly all names are dismissed by their letters alone.
#[inline]
pub(crate) fn classify(name: &str) -> Class {
    let name = if name.len() > 4 * MAX_NAME { cut(name, 4 * MAX_NAME) } else { name };
    let mask = letters(name.as_bytes());
    if mask & RARE == 0 && mask & PAIR != PAIR { Class::default() } else { classify_by_roots(name, mask) }
}

fn classify_by_roots(name: &str, mask: u32) -> Class {
    if !ROOTS.iter().any(|(root, letters)| mask & letters == *letters && contains(name.as_bytes(), root.as_bytes())) {
        return Class::default();
    }
    let class = read(name);
    class.within(Class::default())
}

/// What a name says within a field of class `outer`.
pub(crate) fn classify_within(name: &str, outer: Class) -> Class {
    if outer.is_clear() { classify(name) } else { read(name).within(outer) }
}

pub(super) fn contains(text: &[u8], lower_case: &[u8]) -> bool {
    text.windows(lower_case.len()).any(|window| window.eq_ignore_ascii_case(lower_case))
}

/// What the words of a name say, before anything is concluded from them: [`Class::within`] does that.
pub(crate) fn read(name: &str) -> Class {
    let mut class = Class::default();
    let mut words = Words::of(name);
    let mut first = true;
    while let Some(word) = words.next() {
        class.about = is_about(word) || class.about && is_side(word);
        if first && matches!(word, "is" | "has" | "no" | "use" | "uses" | "with" | "require" | "requires") {
            return Class::default();
        }
        first = false;
        class.technical |= is_technical(word);
        let (part, noun) = meaning(word);
        if class.part == Part::None || part == Part::Biometric {
            class.part = if part == Part::None { class.part } else { part };
        }
        if noun != Noun::None {
            class.noun = stronger(class.part, class.noun, noun);
        }
        if is_material(word) {
            class.strength = Strength::Strong;
        }
    }
    class
}

/// Of two nouns in a name the one that says more: `face_sample_image` is an image.
fn stronger(part: Part, one: Noun, other: Noun) -> Noun {
    let part = if part == Part::None { Part::Plain } else { part };
    if strength(part, other, false) >= strength(part, one, false) { other } else { one }
}

/// Part and noun of a word, which may be both in one: `faceimage`.
fn meaning(word: &str) -> (Part, Noun) {
    let part = part(word);
    if part != Part::None {
        return (part, Noun::None);
    }
    let own = noun(word);
    if own != Noun::None {
        return (Part::None, own);
    }
    let joined = ["biometrics", "biometric", "fingerprint", "thumbprint", "palmprint", "facial", "face", "retina"];
    for head in joined.into_iter().chain(["iris", "voice", "vein", "palm", "finger", "hand"]) {
        if let Some(tail) = word.strip_prefix(head)
            && noun(tail) != Noun::None
        {
            return (self::part(head), noun(tail));
        }
    }
    (Part::None, Noun::None)
}

fn part(word: &str) -> Part {
    match word {
        "biometric" | "biometrics" => Part::Biometric,
        "fingerprint" | "fingerprints" | "thumbprint" | "thumbprints" => Part::Finger,
        "face" | "faces" | "facial" | "voice" | "retina" | "retinal" | "vein" | "veins" => Part::Printed,
        "iris" | "irises" | "irides" => Part::Iris,
        "finger" | "fingers" | "thumb" | "thumbs" | "palm" | "palms" | "palmprint" | "hand" | "handprint" => {
            Part::Plain
        }
        _ => Part::None,
    }
}

fn noun(word: &str) -> Noun {
    match word.strip_suffix('s').unwrap_or(word) {
        "template" | "image" | "img" | "minutia" | "minutiae" | "photo" | "picture" | "bitmap" | "embedding"
        | "wsq" | "recording" | "jpeg" | "jpg" | "png" | "bmp" | "pixel" => Noun::Strong,
        "sample" | "data" | "raw" | "blob" | "payload" => Noun::Sample,
        "scan" | "vector" | "feature" | "encoding" | "capture" | "frame" | "descriptor" | "byte" | "base" | "b"
        | "bin" | "binary" | "audio" | "wav" | "video" => Noun::Weak,
        "print" => Noun::Print,
        "code" => Noun::Code,
        _ => Noun::None,
    }
}

/// Words that name the material by themselves.
fn is_material(word: &str) -> bool {
    matches!(
        word.strip_suffix('s').unwrap_or(word),
        "minutia" | "minutiae" | "voiceprint" | "faceprint" | "irisprint" | "iriscode" | "selfie" | "mugshot"
    )
}

/// Last words of names that are about the material.
const ABOUT: &str = "\
    hash digest sha checksum version format type kind count size length len quality score scores threshold \
    status state result outcome match matched matching verified verification verify enabled enrolled \
    enrollment enrolment present provided available supported required requested at time timestamp date on by \
    name label mime vendor algorithm algo provider device sensor reason error expiry expires age width height \
    resolution dpi consent deleted updated created changed removed policy method mode level flag index \
    position number num seq owner attempt attempts login auth authentication factor liveness duration \
    confidence similarity";

fn is_about(word: &str) -> bool {
    is_identifier(word) || ABOUT.split(' ').any(|about| about == word)
}

fn is_identifier(word: &str) -> bool {
    matches!(
        word,
        "id" | "ids" | "uid" | "uuid" | "guid" | "ref" | "refs" | "reference" | "uri" | "url" | "link" | "path" | "key"
    )
}

/// Words behind which a name is still about what it was about: `face_image_id_2`.
fn is_side(word: &str) -> bool {
    matches!(word, "left" | "right" | "old" | "new" | "v") || word.bytes().all(|c| c.is_ascii_digit())
}

/// Words beside which a fingerprint is that of a machine or a key.
fn is_technical(word: &str) -> bool {
    matches!(
        word,
        "device"
            | "browser"
            | "tls"
            | "ssl"
            | "ssh"
            | "key"
            | "pubkey"
            | "public"
            | "cert"
            | "certificate"
            | "ja"
            | "client"
            | "canvas"
            | "webgl"
            | "http"
            | "tcp"
            | "os"
            | "host"
            | "server"
            | "sha"
            | "md"
            | "agent"
            | "app"
            | "request"
            | "content"
            | "file"
            | "pgp"
            | "gpg"
            | "ca"
            | "issuer"
            | "x"
            | "jwk"
            | "token"
    )
}

/// The class of pseudonyms of an attribute whose name says that its value could be replayed.
pub(crate) fn replayable(name: &str) -> Option<&'static str> {
    let (mut class, mut about) = (None, false);
    let mut words = Words::of(name);
    while let Some(word) = words.next() {
        class = match word {
            "session" | "sessions" | "sessionid" | "jsessionid" | "phpsessid" | "sid" | "cookie" | "cookies" => {
                class.or(Some("session"))
            }
            "token" | "tokens" | "jwt" | "jti" | "bearer" | "authorization" | "assertion" | "ticket" | "secret"
            | "secrets" | "password" | "passwd" | "passphrase" | "otp" | "apikey" | "credentials" => {
                class.or(Some("token"))
            }
            _ => class,
        };
        about = is_about(word) && !is_identifier(word) || matches!(word, "start" | "started" | "end" | "ttl" | "scope");
    }
    class.filter(|_| !about)
}

/// The words of a name in lower case: parted by other characters, by digits, and as camelCase is.
struct Words {
    text: [u8; MAX_NAME],
    ends: [u8; MAX_WORDS],
    count: usize,
    next: usize,
}

impl Words {
    fn of(name: &str) -> Self {
        let mut words = Self { text: [0; MAX_NAME], ends: [0; MAX_WORDS], count: 0, next: 0 };
        let name = name.as_bytes();
        let (mut length, mut before) = (0, Kind::Other);
        for (i, &byte) in name.iter().enumerate() {
            if length == MAX_NAME {
                break;
            }
            let kind = Kind::of(byte);
            let next = name.get(i + 1).map_or(Kind::Other, |next| Kind::of(*next));
            let parts = kind != before && !(before == Kind::Upper && kind == Kind::Lower)
                || kind == Kind::Upper && next == Kind::Lower;
            if parts && !words.end_word(length) {
                break;
            }
            before = kind;
            if kind != Kind::Other {
                words.text[length] = byte.to_ascii_lowercase();
                length += 1;
            }
        }
        words.end_word(length);
        words
    }

    /// Ends the word at `length`, if one has begun; false when there is no room for another.
    fn end_word(&mut self, length: usize) -> bool {
        let start = self.count.checked_sub(1).map_or(0, |last| usize::from(self.ends[last]));
        if length > start {
            if self.count == MAX_WORDS {
                return false;
            }
            self.ends[self.count] = length as u8;
            self.count += 1;
        }
        true
    }

    fn next(&mut self) -> Option<&str> {
        if self.next == self.count {
            return None;
        }
        let start = self.next.checked_sub(1).map_or(0, |last| usize::from(self.ends[last]));
        let word = &self.text[start..usize::from(self.ends[self.next])];
        self.next += 1;
        // only ASCII letters and digits were taken
        std::str::from_utf8(word).ok()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lower,
    Upper,
    Digit,
    Other,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' => Self::Lower,
            b'A'..=b'Z' => Self::Upper,
            b'0'..=b'9' => Self::Digit,
            _ => Self::Other,
        }
    }
}
