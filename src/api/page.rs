//! Page tokens: where a page of a listing ended, in a form that says nothing to its reader.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::core::{Invalid, LeaseId};

/// The token of a page that ends with this name or key.
pub fn after_name_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// The token of a page that ends with this number.
pub fn after_number_token(last: u64) -> String {
    URL_SAFE_NO_PAD.encode(last.to_be_bytes())
}

/// The token of a page that ends with this lease.
pub fn after_lease_token(last: LeaseId) -> String {
    URL_SAFE_NO_PAD.encode(last.0.to_be_bytes())
}

/// With what names or keys of at most `max` bytes have to begin.
pub fn prefix(prefix: String, max: usize) -> Result<String, Invalid> {
    if prefix.len() > max {
        let expected = format!("must have at most {max} bytes, has {}", prefix.len());
        return Err(Invalid::new("prefix", expected));
    }
    Ok(prefix)
}

/// Reads the name or key after which a page begins, one that `check` lets pass; an empty token: at
/// the start.
pub fn after_name<N>(
    token: &str,
    check: impl FnOnce(&str) -> Result<N, Invalid>,
) -> Result<Option<String>, Invalid> {
    read(token, |bytes| {
        let name = String::from_utf8(bytes).ok()?;
        check(&name).is_ok().then_some(name)
    })
}

/// Reads the number after which a page begins; an empty token: at the start.
pub fn after_number(token: &str) -> Result<Option<u64>, Invalid> {
    read(token, |bytes| {
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    })
}

/// Reads the lease after which a page begins; an empty token: at the start.
pub fn after_lease(token: &str) -> Result<Option<LeaseId>, Invalid> {
    read(token, |bytes| {
        Some(LeaseId(u128::from_be_bytes(bytes.try_into().ok()?)))
    })
}

fn read<T>(token: &str, last: impl FnOnce(Vec<u8>) -> Option<T>) -> Result<Option<T>, Invalid> {
    if token.is_empty() {
        return Ok(None);
    }
    let last = URL_SAFE_NO_PAD.decode(token).ok().and_then(last);
    last.map(Some).ok_or_else(|| {
        let expected = "must be empty, or a next_page_token of the same listing";
        Invalid::new("page_token", expected)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::core::LockName;

    #[test]
    fn a_token_leads_back_to_where_the_page_ended() {
        let name = after_name(&after_name_token("a/é"), LockName::new).unwrap();
        assert_eq!(name.as_deref(), Some("a/é"));
        let id = LeaseId(0x1234 << 96);
        assert_eq!(after_lease(&after_lease_token(id)).unwrap(), Some(id));
        assert_eq!(after_number(&after_number_token(7)).unwrap(), Some(7));
    }

    #[test]
    fn no_token_leads_to_the_start() {
        assert_eq!(after_name("", LockName::new).unwrap(), None);
        assert_eq!(after_lease("").unwrap(), None);
        assert_eq!(after_number("").unwrap(), None);
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_field() {
        for token in ["?", "a", "_w", "AA", "AA=="] {
            let name = after_name(token, LockName::new).unwrap_err();
            assert_eq!(name.field, "page_token", "{token}");
            let lease = after_lease(token).unwrap_err();
            assert_eq!(lease.field, "page_token", "{token}");
            let number = after_number(token).unwrap_err();
            assert_eq!(number.field, "page_token", "{token}");
        }
    }
}
