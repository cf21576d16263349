//! Lists of numbers that take few bytes: most samples of a track have a size of two bytes, and the duration of the sample
//! before.

/// A list of numbers, which can only grow.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// Seven bits a byte, the lowest first; the highest bit says that another byte follows (LEB128).
    bytes: Vec<u8>,
}

impl Numbers {
    pub(super) fn push(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut bytes = self.bytes.iter();
        std::iter::from_fn(move || {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = *bytes.next()?;
                value |= u32::from(byte & 0x7F) << shift;
                if byte < 0x80 {
                    return Some(value);
                }
                shift += 7;
            }
        })
    }
}

/// A number, and how often it comes in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) count: u32,
    pub(super) value: u32,
}

/// A list of numbers as runs of equal ones.
#[derive(Debug, Clone, Default)]
pub(super) struct RunLengths {
    /// Count and value of each run but the last.
    closed: Numbers,
    last: Repeated,
    runs: usize,
}

impl RunLengths {
    pub(super) fn push(&mut self, value: u32) {
        if self.last.value != value && self.last.count > 0 {
            self.closed.push(self.last.count);
            self.closed.push(self.last.value);
            self.last.count = 0;
        }
        self.runs += usize::from(self.last.count == 0);
        self.last = Repeated { count: self.last.count + 1, value };
    }

    /// The number that was pushed last.
    pub(super) fn last(&self) -> Option<u32> {
        (self.last.count > 0).then_some(self.last.value)
    }

    /// Puts another number in place of the one that was pushed last. If the two before it are then equal, they may be two
    /// runs.
    pub(super) fn replace_last(&mut self, value: u32) {
        if self.last.count == 1 {
            self.last.value = value;
        } else if self.last.count > 1 && self.last.value != value {
            self.last.count -= 1;
            self.push(value);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Repeated> {
        let mut numbers = self.closed.iter();
        let closed =
            std::iter::from_fn(move || Some(Repeated { count: numbers.next()?, value: numbers.next()? }));
        closed.chain(Some(self.last).filter(|run| run.count > 0))
    }

    /// The number of runs.
    pub(super) fn len(&self) -> usize {
        self.runs
    }

    /// Whether all numbers are that one.
    pub(super) fn are_all(&self, value: u32) -> bool {
        self.iter().all(|run| run.value == value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_give_back_their_numbers(numbers in proptest::collection::vec((any::<u8>(), 0..32), 0..50)) {
            let numbers: Vec<u32> = numbers.iter().map(|(number, shift)| u32::from(*number % 4) << shift).collect();
            let (mut list, mut runs) = (Numbers::default(), RunLengths::default());
            for number in &numbers {
                list.push(*number);
                runs.push(number / 2);
                runs.replace_last(*number);
                prop_assert_eq!(runs.last(), Some(*number));
            }
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), &numbers[..]);
            let repeated: Vec<_> = runs.iter().flat_map(|run| vec![run.value; run.count as usize]).collect();
            prop_assert_eq!(&repeated, &numbers);
            prop_assert_eq!(runs.iter().count(), runs.len());
            prop_assert!(numbers.iter().all(|number| runs.are_all(*number)) || numbers.windows(2).any(|pair| pair[0] != pair[1]));
        }
    }
}
