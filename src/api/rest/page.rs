//! Pages of listings: where one ended, as a token that says nothing to its reader.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::api::http::HttpError;
use crate::api::http::fields::Count;
use crate::core::{LeaseId, check_page_size};

/// Which page is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageRequest {
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// 1 to 1,000.
    pub page_size: Option<Count>,
    /// Where the last page ended.
    pub page_token: Option<String>,
}

impl PageRequest {
    /// The most entries to list.
    pub fn limit(&self) -> Result<usize, HttpError> {
        let size = self.page_size.map_or(0, |count| count.0);
        Ok(check_page_size(size)?)
    }

    /// The name after which the page begins.
    pub fn after_name(&self) -> Result<Option<String>, HttpError> {
        self.after(|bytes| String::from_utf8(bytes).ok())
    }

    /// The lease after which the page begins.
    pub fn after_lease(&self) -> Result<Option<LeaseId>, HttpError> {
        self.after(|bytes| Some(LeaseId(u128::from_be_bytes(bytes.try_into().ok()?))))
    }

    fn after<T>(&self, read: impl Fn(Vec<u8>) -> Option<T>) -> Result<Option<T>, HttpError> {
        match self.page_token.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .and_then(read)
                .map(Some)
                .ok_or_else(|| {
                    HttpError::invalid("page_token", "must be the next_page_token of a listing")
                }),
        }
    }
}

/// The token of a page that ends with these bytes.
pub fn page_token(last: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_where_the_page_ended() {
        let of = |token: String| PageRequest {
            page_token: Some(token),
            ..PageRequest::default()
        };
        let name = of(page_token("a/é")).after_name().unwrap();
        assert_eq!(name.as_deref(), Some("a/é"));
        let id = LeaseId(0x1234 << 96);
        let lease = of(page_token(id.0.to_be_bytes())).after_lease().unwrap();
        assert_eq!(lease, Some(id));
        for token in ["?", "a", "_w"] {
            assert!(of(token.to_owned()).after_name().is_err(), "{token}");
            assert!(of(token.to_owned()).after_lease().is_err(), "{token}");
        }
    }
}
