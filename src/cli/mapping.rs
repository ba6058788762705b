//! `--mapping` and what goes with it: how the lines of files are read.

use super::exit::Failure;
use crate::{
    artifact::File,
    backtest::Reading,
    config::{MappingChoice, mapping_zone},
    decode::{Format, MAX_VALUE, mapping},
};
use std::{
    io::{BufRead, Read},
    path::Path,
};

/// How the lines of files are read.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MappingArgs {
    /// Read the lines through a mapping: a shipped one (`authseal schemas list`) or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub mapping: Option<String>,
    /// Zone of times without an offset: UTC, +02:00, Europe/Berlin [default: the mapping's]
    #[arg(long, value_name = "ZONE", requires = "mapping")]
    pub zone: Option<String>,
    /// When the records came, for times without a year: 2026-11-01, or 2026-11-01T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "mapping", value_parser = moment)]
    pub record_time: Option<i64>,
}

/// Milliseconds since 1970; a day begins at midnight UTC.
pub fn moment(text: &str) -> Result<i64, String> {
    // a date and a time without an offset is no moment: nobody knows which it is
    let day = || {
        text.get(..10)
            .filter(|day| day.len() == text.len())
            .unwrap_or_default()
            .parse::<jiff::civil::Date>()
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC))
    };
    let moment = text.parse::<jiff::Timestamp>().or_else(|_| day().map(|day| day.timestamp()));
    moment.map(|moment| moment.as_millisecond()).map_err(|_| "write 2026-11-01 or 2026-11-01T12:00:00Z".into())
}

impl MappingArgs {
    /// The mapping's file, if one is named.
    pub fn file(&self) -> Result<Option<File>, Failure> {
        let Some(name) = &self.mapping else { return Ok(None) };
        named(name).map(Some)
    }

    /// How to read lines. Whether they are JSON or text is told by the first, if the mapping reads both.
    pub fn reading(&self, first: &mut dyn BufRead) -> Result<Reading, Failure> {
        let Some(file) = self.file()? else { return Ok(Reading::default()) };
        let about = mapping::check(&file).map_err(Failure::usage)?;
        let zone = self.zone.as_deref().map(mapping_zone).transpose().map_err(Failure::usage)?;
        let text = if about.text && about.json { !begins_json(first)? } else { about.text };
        let record_time = self.record_time.unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        Ok(Reading { format: Format::Mapped { mapping: file, text, zone }, record_time: Some(record_time) })
    }
}

/// A mapping by its name or path.
pub fn named(name: &str) -> Result<File, Failure> {
    match MappingChoice::parse(name).map_err(Failure::usage)? {
        MappingChoice::Shipped(file) => Ok(file),
        MappingChoice::Path(path) => {
            let file = std::fs::File::open(&path);
            let mut bytes = Vec::new();
            let read = file.and_then(|file| file.take(MAX_VALUE as u64).read_to_end(&mut bytes));
            read.map_err(|e| Failure::usage(format!("reading {}: {e}", path.display())))?;
            Ok(File { path: shown(&path), bytes })
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Whether what comes first begins like a JSON object; nothing is taken away.
fn begins_json(first: &mut dyn BufRead) -> Result<bool, Failure> {
    let ahead = first.fill_buf()?;
    let ahead = ahead.strip_prefix(b"\xef\xbb\xbf").unwrap_or(ahead);
    Ok(ahead.trim_ascii_start().starts_with(b"{"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_days() {
        assert_eq!(moment("2026-01-05"), Ok(1_767_571_200_000));
        assert_eq!(moment("2026-01-05T01:00:00+01:00"), Ok(1_767_571_200_000));
        for bad in ["", "yesterday", "2026-02-30", "1767571200", "2026-01-05T00:00:00"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_line_tells_json_from_text() {
        for (text, want) in [("  {\"a\":1}", true), ("\u{feff}{}", true), ("Dec 10 {", false), ("", false)] {
            assert_eq!(begins_json(&mut text.as_bytes()).unwrap(), want, "{text}");
        }
    }
}
