//! Trace ids (W3C Trace Context, <https://www.w3.org/TR/trace-context/>): systems write the same one in several forms,
//! and only in one of them do their events join.

use crate::event::Text;

/// The header that carries a trace from system to system.
const HEADER: &str = "traceparent";

/// Whether a path ends in the name of the header.
pub(super) fn is_header(path: &str) -> bool {
    let Some(head) = path.len().checked_sub(HEADER.len()) else { return false };
    path.is_char_boundary(head)
        && path[head..].eq_ignore_ascii_case(HEADER)
        && (head == 0 || matches!(path.as_bytes()[head - 1], b'.' | b'-' | b'_'))
}

/// The trace of a text: out of a `traceparent`; of 32 hexadecimal digits in lower case; any other one as it is. `None`
/// is the id of no trace, all zeros: it would join everything that has none.
pub(super) fn id(text: &str) -> Option<Text> {
    if let Some(id) = of_header(text) {
        return Some(id);
    }
    let no_trace = text.len() >= 32 && text.bytes().all(|b| matches!(b, b'0' | b'-'));
    if !no_trace {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        return Some(if plain { Text::from(text.to_ascii_lowercase()) } else { Text::from(text) });
    }
    None
}

/// The trace id of a `traceparent`: version, trace, span and flags, each in hexadecimal. What later versions put behind
/// them is passed over.
pub(super) fn of_header(text: &str) -> Option<Text> {
    let mut parts = text.trim().split('-');
    let mut part =
        |length: usize| parts.next().filter(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit()));
    let (version, trace, span, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let none = |id: &str| id.bytes().all(|b| b == b'0');
    let known = !version.eq_ignore_ascii_case("ff") && (version != "00" || parts.next().is_none());
    (known && !none(trace) && !none(span)).then(|| Text::from(trace.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_has_one_form() {
        for (text, want) in [
            (TRACE, Some(TRACE)),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", Some(TRACE)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(TRACE)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes", Some(TRACE)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", Some("unchanged")),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("unchanged")),
            ("Root=1-67891233-abcdef012345678912345678", Some("unchanged")),
            ("463ac35c9f6413ad", Some("unchanged")),
            ("0", Some("unchanged")),
            ("00000000-0000-0000-0000-000000000000", None),
            ("00000000000000000000000000000000", None),
            ("00-00000000000000000000000000000000-0000000000000000-00", None),
        ] {
            let want = if want == Some("unchanged") { Some(text) } else { want };
            assert_eq!(id(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_header_is_known_by_its_name() {
        for name in ["traceparent", "Traceparent", "request.headers.traceparent", "http_traceparent"] {
            assert!(is_header(name), "{name}");
        }
        for name in ["tracestate", "xtraceparent", "parent", "étraceparent", "traceparent.id"] {
            assert!(!is_header(name), "{name}");
        }
    }
}
