//! The grammar of a Sigma condition: names of selections, `and`, `or`, `not`, parentheses, `1 of`, `all of`, `them`.

/// A condition, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// A selection.
    Name(String),
    /// So many of the selections whose names fit; `None` is all.
    Of(Option<usize>, Names),
    /// Not so.
    Not(Box<Condition>),
    /// All hold.
    And(Vec<Condition>),
    /// One holds.
    Or(Vec<Condition>),
}

/// Which selections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// All but those that begin with `_`.
    Them,
    /// Those whose names fit a pattern of `*`.
    Like(String),
}

/// How deep a condition nests.
const DEEPEST: usize = 16;
/// How many words it has.
const LONGEST: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    /// Column in the condition, from 0.
    at: usize,
}

/// Why a condition cannot be read: where (characters from its start), and what.
pub(super) type Fault = (usize, String);

/// Reads a condition.
pub(super) fn read(text: &str) -> Result<Condition, Fault> {
    if let Some(at) = text.find('|') {
        let why = "aggregations behind `|` are no longer part of Sigma (since 2.0): write a correlation rule";
        return Err((text[..at].chars().count(), why.into()));
    }
    let tokens = tokens(text);
    if tokens.len() > LONGEST {
        return Err((0, format!("the condition has more than {LONGEST} words")));
    }
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let condition = reader.or(0)?;
    match reader.peek() {
        None => Ok(condition),
        Some(token) => Err((token.at, format!("`{}` is not expected here: `and` or `or` is", token.text))),
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start: Option<(usize, usize)> = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (column, (byte, c)) in ends.enumerate() {
        let bracket = matches!(c, '(' | ')');
        if (bracket || c.is_whitespace())
            && let Some((from, at)) = start.take()
        {
            tokens.push(Token { text: &text[from..byte], at });
        }
        if bracket {
            tokens.push(Token { text: &text[byte..=byte], at: column });
        } else if !c.is_whitespace() && start.is_none() {
            start = Some((byte, column));
        }
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.text.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Condition, Fault> {
        let mut parts = vec![self.and(depth)?];
        while self.takes("or") {
            parts.push(self.and(depth)?);
        }
        Ok(one_or(parts, Condition::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Condition, Fault> {
        let mut parts = vec![self.not(depth)?];
        while self.takes("and") {
            parts.push(self.not(depth)?);
        }
        Ok(one_or(parts, Condition::And))
    }

    fn not(&mut self, depth: usize) -> Result<Condition, Fault> {
        if depth > DEEPEST {
            return Err((self.peek().map_or(0, |token| token.at), format!("it nests deeper than {DEEPEST}")));
        }
        if self.takes("not") {
            return Ok(Condition::Not(Box::new(self.not(depth + 1)?)));
        }
        self.operand(depth)
    }

    fn operand(&mut self, depth: usize) -> Result<Condition, Fault> {
        let end = self.tokens.last().map_or(0, |token| token.at + token.text.chars().count());
        let Some(token) = self.peek() else { return Err((end, "the condition ends where a selection is due".into())) };
        self.at += 1;
        let is = |word: &str| token.text.eq_ignore_ascii_case(word);
        if token.text == "(" {
            let inner = self.or(depth + 1)?;
            return if self.takes(")") { Ok(inner) } else { Err((token.at, "this parenthesis is not closed".into())) };
        }
        if ["and", "or", "of", ")", "them"].iter().any(|word| is(word)) {
            return Err((token.at, format!("`{}` stands where a selection is due", token.text)));
        }
        if !self.takes("of") {
            return Ok(Condition::Name(token.text.into()));
        }
        let count = match token.text.parse::<usize>() {
            _ if is("all") => None,
            _ if is("any") => Some(1),
            Ok(count) if count > 0 => Some(count),
            _ => return Err((token.at, format!("`{} of`: write `1 of`, `all of` or another number", token.text))),
        };
        let Some(names) = self.peek() else { return Err((end, "`of` needs names: `them` or `selection*`".into())) };
        self.at += 1;
        let them = names.text.eq_ignore_ascii_case("them");
        Ok(Condition::Of(count, if them { Names::Them } else { Names::Like(names.text.into()) }))
    }
}

fn one_or(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Condition {
        Condition::Name(text.into())
    }

    #[test]
    fn not_binds_closer_than_and_and_that_closer_than_or() {
        let like = |text: &str| Names::Like(text.into());
        for (text, wanted) in [
            ("selection", name("selection")),
            ("a and not b", Condition::And(vec![name("a"), Condition::Not(Box::new(name("b")))])),
            ("a or b and c", Condition::Or(vec![name("a"), Condition::And(vec![name("b"), name("c")])])),
            ("(a or b) and c", Condition::And(vec![Condition::Or(vec![name("a"), name("b")]), name("c")])),
            ("1 of selection_*", Condition::Of(Some(1), like("selection_*"))),
            ("ALL OF them", Condition::Of(None, Names::Them)),
            ("not 1 of filter*", Condition::Not(Box::new(Condition::Of(Some(1), like("filter*"))))),
            ("2 of x*", Condition::Of(Some(2), like("x*"))),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_at_its_place() {
        for (text, at, wanted) in [
            ("", 0, "ends where a selection is due"),
            ("a and", 5, "ends where a selection is due"),
            ("a and or b", 6, "`or` stands where"),
            ("a b", 2, "`b` is not expected here"),
            ("(a or b", 0, "not closed"),
            ("a or b)", 6, "`)` is not expected here"),
            ("0 of x*", 0, "`0 of`"),
            ("1 of", 4, "`of` needs names"),
            ("selection | count() by user > 5", 10, "write a correlation rule"),
        ] {
            let (found, why) = read(text).unwrap_err();
            assert!(found == at && why.contains(wanted), "{text}: {found}: {why}");
        }
        assert!(read(&"(".repeat(900)).unwrap_err().1.contains("nests deeper"));
        assert!(read(&"not ".repeat(900)).unwrap_err().1.contains("nests deeper"));
        assert!(read(&"a ".repeat(5000)).unwrap_err().1.contains("more than 1000 words"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "([ab()|*]|and |or |not |of |1 |all |them |é){0,40}") {
            let _ = read(&text);
        }
    }
}
