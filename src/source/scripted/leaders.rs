//! Leader epochs of a log in memory, as far as a consumer sees them (KIP-320).

/// The leaders of a log: each epoch with the first offset that was written under it.
#[derive(Debug, Clone)]
pub(super) struct Leaders(Vec<(i32, i64)>);

impl Default for Leaders {
    fn default() -> Self {
        Self(vec![(0, 0)])
    }
}

impl Leaders {
    /// Another leader, whose log ends at `end`: what lies behind is cut off.
    pub fn elect(&mut self, end: i64) {
        let next = self.0.last().map_or(0, |(epoch, _)| epoch + 1);
        self.0.retain(|(_, first)| *first < end);
        self.0.push((next, end));
    }

    /// The epoch under which the record at `offset` was written.
    pub fn of(&self, offset: i64) -> i32 {
        self.0.iter().rev().find(|(_, first)| *first <= offset).map_or(0, |(epoch, _)| *epoch)
    }

    /// What a broker answers to `OffsetForLeaderEpoch`: where the newest epoch that is not newer than `epoch` ends.
    pub fn end_of(&self, epoch: i32, log_end: i64) -> i64 {
        match self.0.iter().rposition(|(known, _)| *known <= epoch) {
            Some(at) => self.0.get(at + 1).map_or(log_end, |(_, first)| *first),
            None => 0,
        }
    }
}

/// What a consumer knows of the leaders of what it was given: each epoch with the first offset that had it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Vec<(i64, i32)>);

impl Known {
    /// A record was delivered.
    pub fn note(&mut self, offset: i64, epoch: i32) {
        if self.0.last().is_none_or(|(_, last)| *last != epoch) {
            self.0.push((offset, epoch));
        }
    }

    /// The epoch of the record before `offset`.
    pub fn before(&self, offset: i64) -> Option<i32> {
        self.0.iter().rev().find(|(first, _)| *first < offset).map(|(_, epoch)| *epoch)
    }
}
