//! Which software a user agent names. Browsers all call themselves Mozilla, and are told apart by `woothee`; of other
//! software the name is the first product (RFC 9110, 10.1.5), as it stands there.

use super::cache::Cache;
use crate::event::Text;
use std::sync::Arc;
use woothee::parser::Parser;

/// Bytes that are looked at.
const LONGEST: usize = 1024;
/// User agents that are remembered: at most 4 MiB, and a parse takes as long as everything else that decodes an event.
const MOST_CACHED: usize = 4096;
/// Bytes of the name of a product.
const LONGEST_NAME: usize = 64;

/// What a user agent says of itself. Anybody can write anything there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Agent {
    /// The browser, or the program.
    pub client: Option<Text>,
    /// The family of the operating system; not its version, which browsers have stopped to tell.
    pub os: Option<Text>,
}

pub(super) struct Agents {
    parser: Parser,
    cache: Cache<Text, Agent>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { parser: Parser::new(), cache: Cache::new(MOST_CACHED) }
    }
}

impl Agents {
    pub fn parse(&self, text: &str) -> Arc<Agent> {
        let text = &text[..text.floor_char_boundary(LONGEST)];
        if let Some(agent) = self.cache.get(text) {
            return agent;
        }
        let agent = Arc::new(self.read(text));
        self.cache.insert(text.into(), agent.clone());
        agent
    }

    fn read(&self, text: &str) -> Agent {
        let found = self.parser.parse(text);
        let os = found.as_ref().and_then(|found| family(found.os)).map(Text::const_new);
        if !(text.starts_with("Mozilla/") || text.starts_with("Opera/")) {
            return Agent { client: product(text).map(Text::from), os };
        }
        // browsers without a window say so, and are no ordinary ones
        let client = match found {
            _ if text.contains("HeadlessChrome/") => Some("HeadlessChrome"),
            Some(found) if !matches!(found.name, "UNKNOWN" | "HTTP Library" | "misc crawler") => Some(found.name),
            _ => None,
        };
        Agent { client: client.map(Text::from), os }
    }
}

fn family(os: &str) -> Option<&'static str> {
    Some(match os {
        os if os.starts_with("Windows Phone") => "Windows Phone",
        // of 10 and 11 browsers say the same
        os if os.starts_with("Win") => "Windows",
        "Mac OSX" => "macOS",
        "iPhone" | "iPad" | "iPod" | "iOS" => "iOS",
        "Android" => "Android",
        "ChromeOS" => "ChromeOS",
        "Linux" => "Linux",
        _ => return None,
    })
}

/// The first product: a token before a slash, white space or the end.
fn product(text: &str) -> Option<&str> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c: char| !token(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    ((1..=LONGEST_NAME).contains(&name.len()) && (rest.is_empty() || rest.starts_with(['/', ' ']))).then_some(name)
}
