//! The tickets in line, of which each can tell its position cheaply.

use std::collections::VecDeque;

use crate::core::state::TicketIx;

/// The most tickets of one chunk: leaving a line costs no more than moving so many, and a position
/// no more than counting the chunks before it.
const CHUNK_MAX: usize = 256;

/// Tickets by number, in chunks none of which is empty. Numbers only ever join at the end.
#[derive(Debug, Default)]
pub(super) struct TicketLine {
    chunks: VecDeque<Vec<(u64, TicketIx)>>,
    len: usize,
}

impl TicketLine {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a ticket at the end: its number is higher than all that are there.
    pub(super) fn push(&mut self, number: u64, ticket: TicketIx) {
        self.len += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_MAX => chunk.push((number, ticket)),
            _ => self.chunks.push_back(vec![(number, ticket)]),
        }
    }

    /// Takes out the first ticket.
    pub(super) fn pop_first(&mut self) -> Option<(u64, TicketIx)> {
        let first = *self.chunks.front()?.first()?;
        self.remove(first.0);
        Some(first)
    }

    /// Takes out a ticket, wherever it stands.
    pub(super) fn remove(&mut self, number: u64) {
        let Some((at, place)) = self.find(number) else {
            return;
        };
        self.len -= 1;
        let chunk = &mut self.chunks[at];
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
            return;
        }
        // Small neighbours join, so that there are never many chunks with little in them.
        let size = chunk.len();
        if let Some(next) = self.chunks.get(at + 1)
            && size + next.len() <= CHUNK_MAX / 2
            && let Some(next) = self.chunks.remove(at + 1)
        {
            self.chunks[at].extend(next);
        } else if let Some(before) = at.checked_sub(1)
            && self.chunks[before].len() + size <= CHUNK_MAX / 2
            && let Some(chunk) = self.chunks.remove(at)
        {
            self.chunks[before].extend(chunk);
        }
    }

    /// The position of a ticket, counted from 1.
    pub(super) fn position(&self, number: u64) -> Option<u32> {
        let (at, place) = self.find(number)?;
        let before: usize = self.chunks.iter().take(at).map(Vec::len).sum();
        Some((before + place + 1) as u32)
    }

    /// The tickets with higher numbers than this, in order.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = TicketIx> + Clone {
        let at = self.chunk_of(number.saturating_add(1));
        let behind = self.chunks.range(at..).flatten();
        behind
            .skip_while(move |(other, _)| *other <= number)
            .map(|(_, ticket)| *ticket)
    }

    /// All tickets, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = TicketIx> + Clone {
        self.after(0)
    }

    /// The first chunk that ends with this number or a higher one.
    fn chunk_of(&self, number: u64) -> usize {
        let ends_before = |chunk: &Vec<(u64, TicketIx)>| {
            let last = chunk.last();
            last.is_some_and(|(last, _)| *last < number)
        };
        self.chunks.partition_point(ends_before)
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let at = self.chunk_of(number);
        let chunk = self.chunks.get(at)?;
        let place = chunk.binary_search_by_key(&number, |(number, _)| *number);
        Some((at, place.ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn line(numbers: std::ops::RangeInclusive<u64>) -> TicketLine {
        let mut line = TicketLine::default();
        for number in numbers {
            line.push(number, TicketIx(number as u32));
        }
        line
    }

    proptest! {
        #[test]
        fn a_line_is_a_sorted_table_that_knows_positions(
            acts in proptest::collection::vec((0_u8..5, any::<prop::sample::Index>()), 0..1500)
        ) {
            let mut line = line(1..=600);
            let mut model: BTreeMap<u64, u32> = (1..=600).map(|n| (n, n as u32)).collect();
            let mut last = 600;
            for (act, which) in acts {
                let number = which.index(last as usize + 1) as u64;
                match act {
                    0 => {
                        last += 1;
                        line.push(last, TicketIx(last as u32));
                        model.insert(last, last as u32);
                    }
                    1 => {
                        let popped = line.pop_first().map(|(number, _)| number);
                        prop_assert_eq!(popped, model.pop_first().map(|(number, _)| number));
                    }
                    _ => {
                        line.remove(number);
                        model.remove(&number);
                    }
                }
                let place = model.keys().position(|other| *other == number);
                prop_assert_eq!(line.position(number), place.map(|place| place as u32 + 1));
                let next = model.range(number + 1..).next().map(|(_, ticket)| *ticket);
                prop_assert_eq!(line.after(number).next().map(|ticket| ticket.0), next);
            }
            prop_assert_eq!(line.len(), model.len());
            prop_assert_eq!(line.is_empty(), model.is_empty());
            let all: Vec<u32> = line.iter().map(|ticket| ticket.0).collect();
            prop_assert_eq!(all, model.into_values().collect::<Vec<u32>>());
        }
    }

    #[test]
    fn a_line_that_thins_out_has_few_chunks() {
        let mut line = line(1..=65_536);
        for number in (1..=65_536).filter(|number| number % 256 != 7) {
            line.remove(number);
        }
        assert_eq!(line.len(), 256);
        assert!(line.chunks.len() <= 8, "{} chunks", line.chunks.len());
    }
}
