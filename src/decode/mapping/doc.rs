//! A record's values as a mapping sees them: one flat list in the order of the text, names as numbers, texts borrowed
//! where that is possible. Every value is judged by the guards while it is read, so that what must not be kept is
//! found whether the mapping asks for it or not.

use super::super::{
    codes,
    fail::{Fail, Name},
    guard::{Mark, Rules, Trip, content::Octets, judge_content},
    json::{
        Names as Met,
        lex::{Lexer, Start},
    },
    path::MAX_DEPTH,
    scalar::Scalar,
};
use super::path::{Id, Names, Path, Step, UNKNOWN};
use std::{borrow::Cow, cell::Cell};

/// The place of a node.
pub(super) type At = usize;

#[derive(Debug)]
pub(super) enum Content<'a> {
    Scalar(Scalar<'a>),
    Object,
    Array,
}

#[derive(Debug)]
pub(super) struct Node<'a> {
    id: Id,
    pub name: Cow<'a, str>,
    pub content: Content<'a>,
    /// Behind the last node within it.
    pub end: At,
    /// Whether the mapping took it.
    used: Cell<bool>,
}

/// The values of a record. Node 0 is the record itself.
#[derive(Debug, Default)]
pub(super) struct Doc<'a> {
    pub nodes: Vec<Node<'a>>,
    /// What the mapping took out of texts, by name: the newest last.
    own: Vec<(Id, At)>,
}

impl<'a> Doc<'a> {
    /// Reads a JSON object, which must be all there is. Also whether half of a surrogate pair was met.
    pub fn of_json(text: &'a str, names: &Names, rules: &Rules) -> Result<(Self, bool), Fail> {
        let (doc, lossy) = Self::of_any_json(text, names, rules)?;
        match doc.nodes.first().map(|node| &node.content) {
            Some(Content::Object) => Ok((doc, lossy)),
            _ => Err(Fail::new(codes::JSON_FORM, "the value is no JSON object").at(0)),
        }
    }

    /// The same of any JSON value.
    pub fn of_any_json(text: &'a str, names: &Names, rules: &Rules) -> Result<(Self, bool), Fail> {
        let mut doc = Self { nodes: Vec::with_capacity(64), own: Vec::new() };
        let mut reader = Reader { lexer: Lexer::new(text), doc: &mut doc, names, rules, path: String::new() };
        reader.value(UNKNOWN, Cow::Borrowed(""), Mark::default(), None, 0)?;
        if reader.lexer.peek().is_some() {
            return Err(Fail::new(codes::TRAILING_BYTES, "something follows the event").at(reader.lexer.at()));
        }
        let lossy = reader.lexer.lossy;
        Ok((doc, lossy))
    }

    /// A record that is one line of text: an object with the member `line`.
    pub fn of_line(line: Cow<'a, str>, names: &Names) -> Self {
        let mut doc = Self { nodes: Vec::with_capacity(32), own: Vec::new() };
        doc.push(UNKNOWN, Cow::Borrowed(""), Content::Object);
        doc.push(names.of("line"), Cow::Borrowed("line"), Content::Scalar(Scalar::Text(line)));
        doc.close(0);
        doc
    }

    fn push(&mut self, id: Id, name: Cow<'a, str>, content: Content<'a>) -> At {
        let at = self.nodes.len();
        self.nodes.push(Node { id, name, content, end: at + 1, used: Cell::new(false) });
        at
    }

    fn close(&mut self, at: At) {
        let end = self.nodes.len();
        if let Some(node) = self.nodes.get_mut(at) {
            node.end = end;
        }
    }

    /// Adds an object under a name of the mapping's own, with these texts.
    pub fn own_object(&mut self, name: Id, members: impl IntoIterator<Item = (Id, Cow<'a, str>, Cow<'a, str>)>) {
        let at = self.push(name, Cow::Borrowed(""), Content::Object);
        for (id, name, text) in members {
            self.push(id, name, Content::Scalar(Scalar::Text(text)));
        }
        self.close(at);
        self.own.push((name, at));
    }

    /// Adds a text under a name of the mapping's own.
    pub fn own_text(&mut self, name: Id, text: Cow<'a, str>) {
        let at = self.push(name, Cow::Borrowed(""), Content::Scalar(Scalar::Text(text)));
        self.own.push((name, at));
    }

    /// Adds another document under a name of the mapping's own.
    pub fn own_doc(&mut self, name: Id, other: Doc<'_>) {
        let base = self.nodes.len();
        for (place, node) in other.nodes.into_iter().enumerate() {
            let content = match node.content {
                Content::Scalar(scalar) => Content::Scalar(scalar.into_owned()),
                Content::Object => Content::Object,
                Content::Array => Content::Array,
            };
            let (id, key) = if place == 0 { (name, String::new()) } else { (node.id, node.name.into_owned()) };
            let at = self.push(id, Cow::Owned(key), content);
            if let Some(node_here) = self.nodes.get_mut(at) {
                node_here.end = base + node.end;
            }
        }
        self.own.push((name, base));
    }

    /// Forgets what was taken out since there were so many.
    pub fn forget(&mut self, own: usize) {
        self.own.truncate(own);
    }

    /// How many names of the mapping's own there are.
    pub fn own_len(&self) -> usize {
        self.own.len()
    }

    /// The objects that the mapping took out of texts: pairs, and JSON in a string.
    pub fn own_objects(&self) -> impl Iterator<Item = At> + '_ {
        let is_object = |at: &At| self.nodes.get(*at).is_some_and(|node| matches!(node.content, Content::Object));
        self.own.iter().map(|(_, at)| *at).filter(is_object)
    }

    /// The text of a node: borrowed from the record where it stands there as it is.
    pub fn text(&self, at: At) -> Option<Cow<'a, str>> {
        match self.scalar(at)? {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Number(text) => Some(Cow::Borrowed(*text)),
            _ => None,
        }
    }

    /// The places of the nodes directly within another.
    pub fn children(&self, at: At) -> impl Iterator<Item = At> + '_ {
        let end = self.nodes.get(at).map_or(at, |node| node.end);
        let mut next = at + 1;
        std::iter::from_fn(move || {
            let here = Some(next).filter(|next| *next < end)?;
            next = self.nodes.get(here)?.end;
            Some(here)
        })
    }

    fn child(&self, at: At, id: Id) -> Option<At> {
        if !matches!(self.nodes.get(at)?.content, Content::Object) {
            return None;
        }
        let end = self.nodes.get(at)?.end;
        let mut next = at + 1;
        while next < end {
            let node = self.nodes.get(next)?;
            if node.id == id {
                return Some(next);
            }
            next = node.end;
        }
        None
    }

    /// Calls `each` with what stands at a path: once, or once for each item that `[*]` chose.
    pub fn find(&self, path: &Path, each: &mut dyn FnMut(At)) {
        self.look(path, &mut |at| {
            if let Some(node) = self.nodes.get(at) {
                node.used.set(true);
            }
            each(at);
        });
    }

    /// The same, for conditions: what is only compared is not used up.
    fn look(&self, path: &Path, each: &mut dyn FnMut(At)) {
        if !path.own {
            return self.walk(0, path, 0, each);
        }
        let Some(Step::Name(name)) = path.steps.first() else { return };
        if let Some((_, at)) = self.own.iter().rev().find(|(id, _)| id == name) {
            self.walk(*at, path, 1, each);
        }
    }

    /// The first of them.
    pub fn first(&self, path: &Path) -> Option<At> {
        let mut first = None;
        self.find(path, &mut |at| {
            first.get_or_insert(at);
        });
        first
    }

    /// The first of them, for conditions.
    pub fn peek(&self, path: &Path) -> Option<At> {
        let mut first = None;
        self.look(path, &mut |at| {
            first.get_or_insert(at);
        });
        first
    }

    fn walk(&self, at: At, path: &Path, step: usize, each: &mut dyn FnMut(At)) {
        let Some(next) = path.steps.get(step) else { return each(at) };
        match next {
            Step::Name(id) => {
                if let Some(child) = self.child(at, *id) {
                    return self.walk(child, path, step + 1, each);
                }
                let joined = path.joined.get(step).into_iter().flatten();
                if let Some((more, child)) =
                    joined.enumerate().find_map(|(more, id)| Some((more, self.child(at, *id)?)))
                {
                    self.walk(child, path, step + 2 + more, each);
                }
            }
            Step::At(place) if self.is_array(at) => {
                let place = usize::try_from(*place).ok().or_else(|| {
                    let back = usize::try_from(place.unsigned_abs()).ok()?;
                    self.children(at).count().checked_sub(back)
                });
                if let Some(child) = place.and_then(|place| self.children(at).nth(place)) {
                    self.walk(child, path, step + 1, each);
                }
            }
            Step::All if self.is_array(at) => {
                for child in self.children(at) {
                    self.walk(child, path, step + 1, each);
                }
            }
            Step::Where(id, want) if self.is_array(at) => {
                let is = |child: &At| self.child(*child, *id).is_some_and(|at| self.is_text(at, want));
                if let Some(child) = self.children(at).find(is) {
                    self.walk(child, path, step + 1, each);
                }
            }
            Step::At(_) | Step::All | Step::Where(..) => {}
        }
    }

    fn is_array(&self, at: At) -> bool {
        self.nodes.get(at).is_some_and(|node| matches!(node.content, Content::Array))
    }

    fn is_text(&self, at: At, want: &str) -> bool {
        self.scalar(at).is_some_and(|scalar| scalar.to_text().0 == want)
    }

    /// The plain value of a node.
    pub fn scalar(&self, at: At) -> Option<&Scalar<'a>> {
        match &self.nodes.get(at)?.content {
            Content::Scalar(scalar) => Some(scalar),
            Content::Object | Content::Array => None,
        }
    }

    /// Whether the mapping took it.
    pub fn is_used(&self, at: At) -> bool {
        self.nodes.get(at).is_some_and(|node| node.used.get())
    }
}

struct Reader<'a, 'd, 'r> {
    lexer: Lexer<'a>,
    doc: &'d mut Doc<'a>,
    names: &'r Names,
    rules: &'r Rules,
    /// The names around the value, joined with dots: kept only if names with dots may be secret.
    path: String,
}

impl<'a> Reader<'a, '_, '_> {
    fn value(
        &mut self,
        id: Id,
        name: Cow<'a, str>,
        mark: Mark,
        place: Option<usize>,
        depth: usize,
    ) -> Result<Option<i64>, Fail> {
        let start = self.lexer.start()?;
        let at = self.lexer.at();
        let scalar = match start {
            Start::String => Scalar::Text(self.lexer.string()?),
            Start::Number => Scalar::Number(self.lexer.number()?),
            Start::Word => self.lexer.word()?.map_or(Scalar::Null, Scalar::Bool),
            Start::Object | Start::Array => {
                if depth >= MAX_DEPTH {
                    return Err(Fail::new(codes::JSON_FORM, "the JSON nests deeper than 64").at(at));
                }
                let object = start == Start::Object;
                let node = self.doc.push(id, name, if object { Content::Object } else { Content::Array });
                if object {
                    self.object(mark, depth)?
                } else {
                    self.array(mark, depth)?
                }
                self.doc.close(node);
                return Ok(None);
            }
        };
        if let Some(trip) = mark.judge(&scalar, place).or_else(|| judge_content(&scalar, self.rules)) {
            return Err(trip.fail().named(Name::Theirs(super::super::fail::cut(&name, 128).into())).at(at));
        }
        let octet = scalar.to_octet().filter(|_| start == Start::Number);
        self.doc.push(id, name, Content::Scalar(scalar));
        Ok(octet)
    }

    fn object(&mut self, mark: Mark, depth: usize) -> Result<(), Fail> {
        let mut met = Met::default();
        self.lexer.take(b'{');
        if self.lexer.take(b'}') {
            return Ok(());
        }
        loop {
            if self.lexer.peek() != Some(b'"') {
                return Err(self.lexer.fail("here should be a name in quotes"));
            }
            let at = self.lexer.at();
            let name = self.lexer.string()?;
            met.insert(&name, name.clone(), at)?;
            if !self.lexer.take(b':') {
                return Err(self.lexer.fail("here should be a colon"));
            }
            let outer = self.path.len();
            let mark = if self.rules.has_secrets() {
                self.path.push_str(if outer > 0 { "." } else { "" });
                self.path.push_str(&name);
                self.rules.mark(&self.path, &name, mark)
            } else {
                self.rules.mark(&name, &name, mark)
            };
            self.value(self.names.of(&name), name, mark, None, depth + 1)?;
            self.path.truncate(outer);
            if self.lexer.take(b'}') {
                return Ok(());
            }
            if !self.lexer.take(b',') {
                return Err(self.lexer.fail("here should be a comma or the end of the object"));
            }
        }
    }

    fn array(&mut self, mark: Mark, depth: usize) -> Result<(), Fail> {
        let mut octets = Octets::default();
        self.lexer.take(b'[');
        if self.lexer.take(b']') {
            return Ok(());
        }
        for place in 0.. {
            self.lexer.peek();
            let at = self.lexer.at();
            let octet = self.value(UNKNOWN, Cow::Borrowed(""), mark, Some(place), depth + 1)?;
            if let Some(what) = octets.push(octet) {
                return Err(Trip::Content(what).fail().at(at));
            }
            if self.lexer.take(b']') {
                break;
            }
            if !self.lexer.take(b',') {
                return Err(self.lexer.fail("here should be a comma or the end of the array"));
            }
        }
        Ok(())
    }
}
