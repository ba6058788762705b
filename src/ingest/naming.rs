//! Which rules and schemas a manifest names: those with which the records of its segment were judged, and no others.

use crate::{digest::Digest, manifest::Artifacts};

/// What was in force for the records of one partition.
#[derive(Debug, Clone)]
pub struct Naming {
    /// With what records were judged before the first change that is still of interest.
    first: Artifacts,
    /// From which offset on others: by offset, the last is in force.
    later: Vec<(i64, Artifacts)>,
    /// With what the records that wait were judged; `None` while there are none.
    waiting: Option<Artifacts>,
}

impl Naming {
    /// Everything is judged with these.
    pub fn new(names: Artifacts) -> Self {
        Self { first: names, later: Vec::new(), waiting: None }
    }

    /// Records from this offset on are judged with others.
    pub fn change(&mut self, offset: i64, names: Artifacts) {
        self.later.retain(|(from, _)| *from < offset);
        self.later.push((offset, names));
    }

    /// Records are decoded with other schemas from now on, those that are read again as well.
    pub fn decode(&mut self, decode: Option<Digest>) {
        self.first.decode = decode;
        self.later.iter_mut().for_each(|(_, names)| names.decode = decode);
    }

    fn of(&self, offset: i64) -> Artifacts {
        self.later.iter().rev().find(|(from, _)| *from <= offset).map_or(self.first, |(_, names)| *names)
    }

    /// Whether a record may follow those that wait. If not, these must go on their way first.
    pub fn fits(&self, offset: i64) -> bool {
        self.waiting.is_none_or(|names| names == self.of(offset))
    }

    /// A record waits.
    pub fn took(&mut self, offset: i64) {
        self.waiting = Some(self.of(offset));
    }

    /// What waits goes on its way: what its manifest names. A segment without records names what is in force.
    pub fn take(&mut self) -> Artifacts {
        let in_force = self.later.last().map_or(self.first, |(_, names)| *names);
        self.waiting.take().unwrap_or(in_force)
    }

    /// What waits is thrown away: it is sealed already, or read again.
    pub fn clear(&mut self) {
        self.waiting = None;
    }

    /// Records below this offset are sealed: nobody asks for them again.
    pub fn prune(&mut self, sealed_to: i64) {
        let done = self.later.partition_point(|(from, _)| *from <= sealed_to);
        if let Some((_, names)) = self.later.drain(..done).next_back() {
            self.first = names;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: u8) -> Artifacts {
        Artifacts { rules: Some(Digest([n; 32])), decode: None }
    }

    #[test]
    fn a_segment_never_holds_records_of_two_rule_sets() {
        let mut naming = Naming::new(names(1));
        assert!(naming.fits(0));
        naming.took(0);
        naming.change(5, names(2));
        assert!(naming.fits(4) && !naming.fits(5));
        assert_eq!(naming.take(), names(1));
        assert!(naming.fits(5));
        naming.took(5);
        assert_eq!(naming.take(), names(2));
        assert_eq!(naming.take(), names(2), "a heartbeat names what is in force");
    }

    #[test]
    fn records_that_are_read_again_are_named_as_they_were_judged() {
        let mut naming = Naming::new(names(1));
        naming.took(9);
        naming.change(10, names(2));
        naming.took(10);
        // another writer sealed up to 7: what it did not seal is read again, and is not judged again
        naming.clear();
        naming.prune(7);
        naming.took(7);
        assert!(naming.fits(9) && !naming.fits(10));
        assert_eq!(naming.take(), names(1));
        naming.prune(10);
        naming.took(10);
        assert_eq!((naming.take(), naming.later.len()), (names(2), 0));
    }

    #[test]
    fn a_segment_names_the_schemas_with_which_its_records_were_read_even_if_they_are_read_again() {
        let with = |names: Artifacts, n: u8| Artifacts { decode: Some(Digest([n; 32])), ..names };
        let mut naming = Naming::new(names(1));
        naming.took(4);
        naming.change(5, names(2));
        naming.decode(Some(Digest([9; 32])));
        assert!(!naming.fits(4), "what waits was read with fewer schemas");
        assert_eq!(naming.take(), names(1));
        naming.took(4);
        assert_eq!(naming.take(), with(names(1), 9), "judged by the rules of then, read with the schemas of now");
        naming.took(5);
        assert_eq!(naming.take(), with(names(2), 9));
    }

    #[test]
    fn rules_that_judged_nothing_are_named_nowhere() {
        let mut naming = Naming::new(names(1));
        naming.change(5, names(2));
        naming.change(5, names(3));
        naming.took(5);
        assert_eq!((naming.take(), naming.later.len()), (names(3), 1));
    }
}
