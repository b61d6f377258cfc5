//! Listings: as many pages as it takes, and how they are told.

use std::fmt::{self, Display};

use clap::Args;

use super::error::CliError;
use crate::core::limits::PAGE_SIZE_MAX;

/// How much of a listing.
#[derive(Args, Debug)]
pub struct PageArgs {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,

    /// Where to go on: the next_page_token of an earlier listing
    #[arg(
        long,
        value_name = "TOKEN",
        default_value = "",
        hide_default_value = true
    )]
    page_token: String,
}

impl PageArgs {
    /// Asks for page after page, each by its size and token. What was listed, and the token of what
    /// was not; empty: there is no more.
    pub async fn read<T, V: From<T>>(
        self,
        mut ask: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), CliError>,
    ) -> Result<(Vec<V>, String), CliError> {
        let (mut listed, mut token) = (Vec::new(), self.page_token);
        let mut left = self.limit;
        while left > 0 {
            let (page, next_page_token) = ask(left.min(PAGE_SIZE_MAX as u32), token).await?;
            left = left.saturating_sub(page.len() as u32);
            listed.extend(page.into_iter().map(V::from));
            token = next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok((listed, token))
    }
}

/// Writes a listing for people: a line for each entry, and whether it goes on.
pub fn write<T: Display>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    lines: impl IntoIterator<Item = T>,
    next_page_token: &str,
) -> fmt::Result {
    let mut lines = lines.into_iter();
    let Some(first) = lines.next() else {
        return write!(f, "no {what}");
    };
    write!(f, "{first}")?;
    for line in lines {
        write!(f, "\n{line}")?;
    }
    match next_page_token {
        "" => Ok(()),
        token => write!(f, "\nthere are more: --page-token {token}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Lists the numbers below 2,500 in pages of at most 700, though more were asked for.
    async fn list(limit: u32, page_token: &str) -> (Vec<u64>, String) {
        let page = PageArgs {
            limit,
            page_token: page_token.to_owned(),
        };
        let ask = async |page_size: u32, token: String| {
            assert!((1..=PAGE_SIZE_MAX as u32).contains(&page_size));
            let from = token.parse().unwrap_or(0);
            let to = (from + page_size.min(700)).min(2_500);
            let next = if to < 2_500 {
                to.to_string()
            } else {
                String::new()
            };
            Ok(((from..to).collect(), next))
        };
        page.read(ask).await.unwrap()
    }

    #[tokio::test]
    async fn pages_are_joined_up_to_the_limit() {
        assert_eq!(list(10_000, "").await, ((0..2_500).collect(), "".into()));
        assert_eq!(list(2_500, "").await, ((0..2_500).collect(), "".into()));
        assert_eq!(list(1_500, "").await, ((0..1_500).collect(), "1500".into()));
        assert_eq!(list(2, "1500").await, (vec![1_500, 1_501], "1502".into()));
        assert_eq!(list(0, "7").await, (vec![], "7".into()));
    }
}
