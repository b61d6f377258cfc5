//! Walking a table page by page, in the order of its keys.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What stands under the names that begin with `prefix`, from the first behind `after` on.
pub(super) fn named<'a, N: Borrow<str> + Ord, I: Copy>(
    table: &'a BTreeMap<N, I>,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = I> + Clone {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    table
        .range::<str, _>((from, Bound::Unbounded))
        .take_while(move |(name, _)| (*name).borrow().starts_with(prefix))
        .map(|(_, index)| *index)
}

/// At most `limit` views of what was found, and whether more was found.
pub(super) fn page<I, V>(
    mut found: impl Iterator<Item = I>,
    limit: usize,
    view: impl FnMut(I) -> V,
) -> (Vec<V>, bool) {
    let views = found.by_ref().take(limit).map(view).collect();
    let more = found.next().is_some();
    (views, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_joined_are_all_that_begins_with_the_prefix() {
        let names = ["a", "b", "b/1", "b/2", "b/3", "b0", "c"];
        let table: BTreeMap<String, &str> = names.map(|name| (name.to_owned(), name)).into();
        for limit in 1..=4 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let (names, more) = page(named(&table, "b/", after), limit, |name| name);
                assert!(names.len() <= limit);
                seen.extend(names);
                after = seen.last().copied();
                if !more {
                    break;
                }
            }
            assert_eq!(seen, ["b/1", "b/2", "b/3"], "by {limit}");
        }
    }

    #[test]
    fn a_page_begins_within_the_prefix_wherever_the_last_one_ended() {
        let table = BTreeMap::from(["a", "b/1", "c"].map(|name| (name.to_owned(), name)));
        let listed = |after| named(&table, "b/", Some(after)).collect::<Vec<_>>();
        assert_eq!(listed("a"), ["b/1"]);
        assert_eq!(listed("b/0"), ["b/1"]);
        assert!(listed("b/1").is_empty());
        assert!(listed("c").is_empty());
    }
}
