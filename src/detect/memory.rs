//! What is remembered of a record: once, for all markers of all rules that remember it.

use super::{
    kept::{self, Kept},
    subject::{Selector, Subject},
};
use crate::event::Value;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The fields of a record that functions of rules ask markers for. It is shared by the markers, so its bytes are
/// counted while it lives and not by those who hold it.
#[derive(Debug)]
pub(super) struct Memory {
    selectors: Arc<[Selector]>,
    values: Box<[Kept]>,
    bytes: usize,
    account: Arc<AtomicUsize>,
}

impl Memory {
    /// These values under these selectors, one each. Its bytes are added to `account` for as long as it lives.
    pub fn new(selectors: Arc<[Selector]>, values: Box<[Kept]>, account: &Arc<AtomicUsize>) -> Arc<Self> {
        // the counts of the Arc, and what each allocation costs by itself
        let bytes = size_of::<Self>() + values.iter().map(Kept::bytes).sum::<usize>() + 48;
        account.fetch_add(bytes, Relaxed);
        Arc::new(Self { selectors, values, bytes, account: account.clone() })
    }

    /// What these selectors find in a record.
    pub fn of(subject: &Subject<'_>, selectors: &Arc<[Selector]>, account: &Arc<AtomicUsize>) -> Arc<Self> {
        let values = selectors.iter().map(|selector| Kept::of(subject.get(selector))).collect();
        Self::new(selectors.clone(), values, account)
    }

    /// Nothing.
    #[cfg(test)]
    pub fn empty() -> Arc<Self> {
        Self::new(Arc::new([]), Box::default(), &Arc::default())
    }

    /// What a field held; null if nobody asked for it when the record came.
    pub fn get(&self, selector: &Selector) -> Value<'_> {
        kept::find(&self.selectors, &self.values, selector)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.account.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Field;

    #[test]
    fn bytes_are_counted_while_somebody_remembers() {
        let account = Arc::new(AtomicUsize::new(0));
        let selectors: Arc<[Selector]> = [Selector::Field(Field::user), Selector::Field(Field::src_ip)].into();
        let long = "x".repeat(300);
        let memory = Memory::new(selectors, [Kept::Text(long.as_str().into()), Kept::Null].into(), &account);
        let counted = account.load(Relaxed);
        assert!((300..700).contains(&counted), "{counted}");
        let other = memory.clone();
        drop(memory);
        assert_eq!(account.load(Relaxed), counted, "somebody still does");
        assert_eq!(other.get(&Selector::Field(Field::user)), Value::Text(&long));
        assert_eq!(other.get(&Selector::Field(Field::device)), Value::Null, "nobody asked for it");
        drop(other);
        assert_eq!(account.load(Relaxed), 0);
    }
}
