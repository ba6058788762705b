//! How many values have one event, two events, and so on. The numbers that some value has are linked in order, so that
//! the smallest and the largest are known at once, whatever comes and goes.

/// Levels by number of events; level 0 holds no value and stands between the largest and the smallest.
#[derive(Debug)]
pub(super) struct Levels(Vec<Level>);

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// How many values have so many events.
    values: u32,
    /// The next smaller level that has a value, and the next larger one: round a circle through level 0.
    below: u32,
    above: u32,
}

impl Default for Levels {
    fn default() -> Self {
        Self(vec![Level::default()])
    }
}

impl Levels {
    /// Forgets everything but its room.
    pub fn clear(&mut self) {
        self.0.clear();
        self.0.push(Level::default());
    }

    /// The smallest number of events that a value has; 0 without values.
    pub fn least(&self) -> u32 {
        self.0[0].above
    }

    /// The largest number of events that a value has; 0 without values.
    pub fn most(&self) -> u32 {
        self.0[0].below
    }

    /// A value that had `was` events has one more.
    pub fn up(&mut self, was: u32) {
        let now = was + 1;
        if self.0.len() <= now as usize {
            self.0.resize(now as usize + 1, Level::default());
        }
        self.join(now, was);
        self.leave(was);
    }

    /// A value that had `was` events has one less.
    pub fn down(&mut self, was: u32) {
        self.join(was - 1, self.0[was as usize].below);
        self.leave(was);
    }

    /// One more value at this level, which stands after `below` if it was empty.
    fn join(&mut self, level: u32, below: u32) {
        if level == 0 {
            return;
        }
        if self.0[level as usize].values == 0 {
            let above = self.0[below as usize].above;
            self.0[level as usize] = Level { values: 0, below, above };
            self.0[below as usize].above = level;
            self.0[above as usize].below = level;
        }
        self.0[level as usize].values += 1;
    }

    fn leave(&mut self, level: u32) {
        if level == 0 {
            return;
        }
        self.0[level as usize].values -= 1;
        let Level { values, below, above } = self.0[level as usize];
        if values == 0 {
            self.0[below as usize].above = above;
            self.0[above as usize].below = below;
        }
    }

    /// Bytes it takes beside itself.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<Level>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_least_and_the_most_are_those_of_all_values(
            steps in proptest::collection::vec((0usize..6, 0u8..3), 1..300),
        ) {
            let (mut levels, mut counts) = (Levels::default(), [0_u32; 6]);
            for (value, step) in steps {
                if step > 0 {
                    levels.up(counts[value]);
                    counts[value] += 1;
                } else if counts[value] > 0 {
                    levels.down(counts[value]);
                    counts[value] -= 1;
                }
                let some = || counts.into_iter().filter(|count| *count > 0);
                prop_assert_eq!(levels.least(), some().min().unwrap_or(0));
                prop_assert_eq!(levels.most(), some().max().unwrap_or(0));
            }
        }
    }
}
