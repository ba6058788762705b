//! The different values of one field among the events of a key: each kept once, and known by its slot.

use super::decimal::Decimal;
use crate::event::Text;
use ahash::RandomState;
use hashbrown::HashTable;

/// Stands for a null value.
pub(super) const NONE: u32 = u32::MAX;
/// Up to this many values, a column is searched without an index.
const FEW: usize = 8;

/// The different values of one field among the events of a key.
#[derive(Debug, Default)]
pub(super) struct Column {
    slots: Vec<Slot>,
    /// First slot that is free, and from there through `refs`.
    free: Option<u32>,
    index: Option<HashTable<u32>>,
    /// What each slot says as a number: kept only for columns that something counts with.
    numbers: Option<Vec<Option<Decimal>>>,
    /// Bytes of strings outside their slots.
    heap: usize,
}

#[derive(Debug)]
struct Slot {
    text: Text,
    /// Events that have this value.
    refs: u32,
    used: bool,
}

impl Column {
    /// A column without values. `numeric` says that its values are counted with.
    pub fn new(numeric: bool) -> Self {
        Self { numbers: numeric.then(Vec::new), ..Self::default() }
    }

    /// The value in a slot.
    pub fn text(&self, place: u32) -> Option<&str> {
        self.slots.get(place as usize).filter(|slot| slot.used).map(|slot| slot.text.as_str())
    }

    /// What a slot says as a number.
    pub fn number(&self, place: u32) -> Option<Decimal> {
        *self.numbers.as_ref()?.get(place as usize)?
    }

    /// The slot of a value, which one more event has.
    pub fn intern(&mut self, text: &str, hasher: &RandomState) -> u32 {
        if let Some(found) = self.find(text, hasher) {
            self.slots[found as usize].refs += 1;
            return found;
        }
        let number = self.numbers.as_ref().and_then(|_| Decimal::parse(text));
        let text = Text::from(text);
        self.heap += outside(&text);
        let slot = Slot { text, refs: 1, used: true };
        let place = match self.free {
            Some(place) => {
                self.free = Some(self.slots[place as usize].refs).filter(|next| *next != NONE);
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32 // at most MOST_ENTRIES of them
            }
        };
        if let Some(numbers) = &mut self.numbers {
            match numbers.get_mut(place as usize) {
                Some(known) => *known = number,
                None => numbers.push(number), // slots are added one by one
            }
        }
        let slots = &self.slots;
        match &mut self.index {
            Some(index) => {
                let hash = |place: u32| hasher.hash_one(slots[place as usize].text.as_str());
                index.insert_unique(hash(place), place, |other| hash(*other));
            }
            None if self.slots.len() > FEW => {
                let hash = |place: u32| hasher.hash_one(slots[place as usize].text.as_str());
                let mut index = HashTable::with_capacity(2 * FEW);
                for place in (0..slots.len() as u32).filter(|place| slots[*place as usize].used) {
                    index.insert_unique(hash(place), place, |other| hash(*other));
                }
                self.index = Some(index);
            }
            None => {}
        }
        place
    }

    fn find(&self, text: &str, hasher: &RandomState) -> Option<u32> {
        match &self.index {
            Some(index) => index.find(hasher.hash_one(text), |place| self.slots[*place as usize].text == text).copied(),
            None => self.slots.iter().position(|slot| slot.used && slot.text == text).map(|place| place as u32),
        }
    }

    /// One event less has this value.
    pub fn release(&mut self, place: u32, hasher: &RandomState) {
        let Some(slot) = self.slots.get_mut(place as usize) else { return };
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        let text = std::mem::take(&mut slot.text);
        slot.used = false;
        slot.refs = self.free.unwrap_or(NONE);
        self.free = Some(place);
        self.heap -= outside(&text);
        if let Some(index) = &mut self.index
            && let Ok(found) = index.find_entry(hasher.hash_one(text.as_str()), |other| *other == place)
        {
            found.remove();
        }
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.heap
            + self.numbers.as_ref().map_or(0, |numbers| numbers.capacity() * size_of::<Option<Decimal>>())
            + self.slots.capacity() * size_of::<Slot>()
            + self.index.as_ref().map_or(0, HashTable::allocation_size)
    }
}

/// Bytes that a string keeps outside its struct.
fn outside(text: &Text) -> usize {
    if text.is_heap_allocated() { text.capacity() } else { 0 }
}
