//! Which dead letters are meant.

use crate::{config::duration, position::Position, publish::letter::Letter};

/// Filters: a letter must satisfy all that are given.
#[derive(Debug, clap::Args)]
pub struct Select {
    /// With this rejection code; may be repeated (docs/input.md lists them)
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Read from this topic at first; may be repeated
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Sealed at this position: CLUSTER/TOPIC/PARTITION/INCARNATION@OFFSET; may be repeated
    #[arg(long, value_name = "POSITION")]
    position: Vec<Position>,
    /// Published at this time or later: 2026-01-31T12:00:00Z, or 90s, 15m, 2h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<i64>,
    /// Published before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<i64>,
}

impl Select {
    /// Whether a letter is meant.
    pub fn wants(&self, letter: &Letter) -> bool {
        let position = letter.position.as_ref();
        let topic = position.map(|position| position.chain.topic.as_str());
        (self.code.is_empty() || self.code.contains(&letter.code))
            && (self.topic.is_empty() || self.topic.iter().any(|wanted| Some(wanted.as_str()) == topic))
            && (self.position.is_empty() || position.is_some_and(|position| self.position.contains(position)))
            && self.since.is_none_or(|since| letter.published >= since)
            && self.until.is_none_or(|until| letter.published < until)
    }
}

/// A moment, or how long ago, as milliseconds since 1970.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago = duration(text).and_then(|ago| i64::try_from(ago.as_millis()).ok());
    let ago = ago.ok_or("write a moment such as 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 2h, 7d")?;
    Ok(jiff::Timestamp::now().as_millisecond().saturating_sub(ago))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Header, RawRecord};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        select: Select,
    }

    fn letter(code: &str, position: &str, published: i64) -> Letter {
        let header =
            |key: &str, value: &str| Header { key: key.to_owned().into(), value: Some(value.to_owned().into()) };
        let headers = vec![header("authseal-code", code), header("authseal-position", position)];
        Letter::parse(RawRecord { headers, timestamp: published, ..RawRecord::default() }).unwrap()
    }

    #[test]
    fn a_letter_must_satisfy_every_filter() {
        let letters = [
            letter("trailing_bytes", "main/auth/0/0@1", 1_767_225_600_000),
            letter("tombstone", "main/auth/0/0@2", 1_767_225_601_000),
            letter("tombstone", "main/other/1/0@3", 1_767_225_602_000),
            letter("tombstone", "unreadable", 1_767_225_603_000),
        ];
        for (line, wanted) in [
            (&[][..], &[0, 1, 2, 3][..]),
            (&["--code", "tombstone"], &[1, 2, 3]),
            (&["--code", "tombstone", "--code", "trailing_bytes", "--topic", "auth"], &[0, 1]),
            (&["--position", "main/other/1/0@3"], &[2]),
            (&["--since", "2026-01-01T00:00:01Z", "--until", "2026-01-01T00:00:03Z"], &[1, 2]),
            (&["--since", "7d"], &[]),
        ] {
            let select = Line::parse_from(["list"].iter().chain(line)).select;
            let found: Vec<usize> = (0..letters.len()).filter(|at| select.wants(&letters[*at])).collect();
            // seven days ago is after the first of January for as long as this test is run after it
            assert_eq!(found, wanted, "{line:?}");
        }
        for bad in [&["--since", "yesterday"][..], &["--position", "main/auth"], &["--until", "5"]] {
            assert!(Line::try_parse_from(["list"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
