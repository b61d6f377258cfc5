//! Pages of listings: which one is wanted, and what it answers.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::http::HttpError;
use crate::api::http::fields::Count;
use crate::api::openapi::{PageSize, PageTokenText, PrefixText};
use crate::api::page::{after_lease, after_name, after_number, prefix};
use crate::core::{Invalid, LeaseId, check_page_size};

/// Which page is wanted.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PageRequest {
    /// Only names that begin so.
    #[schema(value_type = PrefixText)]
    pub prefix: Option<String>,
    /// 1 to 1,000; unless given, or 0: 100.
    #[schema(value_type = PageSize)]
    pub page_size: Option<Count>,
    /// Where the last page ended.
    #[schema(value_type = PageTokenText)]
    pub page_token: Option<String>,
}

impl PageRequest {
    /// The most entries to list.
    pub fn limit(&self) -> Result<usize, HttpError> {
        let size = self.page_size.map_or(0, |count| count.0);
        Ok(check_page_size(size)?)
    }

    /// With what the names or keys of at most `max` bytes have to begin.
    pub fn prefix(&self, max: usize) -> Result<String, HttpError> {
        Ok(prefix(self.prefix.clone().unwrap_or_default(), max)?)
    }

    /// The name or key after which the page begins, one that `check` lets pass.
    pub fn after_name<N>(
        &self,
        check: impl FnOnce(&str) -> Result<N, Invalid>,
    ) -> Result<Option<String>, HttpError> {
        Ok(after_name(self.token(), check)?)
    }

    /// The lease after which the page begins.
    pub fn after_lease(&self) -> Result<Option<LeaseId>, HttpError> {
        Ok(after_lease(self.token())?)
    }

    /// The number after which the page begins.
    pub fn after_number(&self) -> Result<Option<u64>, HttpError> {
        Ok(after_number(self.token())?)
    }

    fn token(&self) -> &str {
        self.page_token.as_deref().unwrap_or_default()
    }
}

/// Which page is wanted of what has no names to begin so.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes: a prefix is refused by name")]
pub struct NumberPageRequest {
    /// 1 to 1,000; unless given, or 0: 100.
    #[schema(value_type = PageSize)]
    page_size: Option<Count>,
    /// Where the last page ended.
    #[schema(value_type = PageTokenText)]
    page_token: Option<String>,
}

/// The entries of a page as JSON and, where there are more, the token of the next page.
pub fn page_of<'a, V, J: From<&'a V>>(
    entries: &'a [V],
    more: bool,
    token: impl FnOnce(&V) -> String,
) -> (Vec<J>, Option<String>) {
    let next_page_token = entries.last().filter(|_| more).map(token);
    (entries.iter().map(J::from).collect(), next_page_token)
}
