//! Which addresses may be called.
//!
//! A callback names where Holdfast connects to, so without this anybody who may stand in line could
//! reach what only this machine and its neighbours reach: metadata services, databases, Holdfast
//! itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, third: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), prefix)
}

/// What is not on the public internet.
const REFUSED_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this host
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier-grade NAT
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // Azure's platform, as seen from its machines
    v4(169, 254, 0, 0, 16),   // link-local, metadata services among them
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
];

/// All that is routed on the internet. Outside of it are, among others, the unspecified and the
/// loopback address, IPv4-compatible addresses, local NAT64 (64:ff9b:1::/48), discard (100::/64),
/// unique local (fc00::/7), link-local, site-local and multicast.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

/// What is not on the public internet within [`GLOBAL_V6`]. 6to4 and Teredo carry an IPv4 address
/// to tunnel to; nobody needs them any more.
const REFUSED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 0, 23),     // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 0, 32), // documentation
    v6(0x2002, 0, 0, 16),     // 6to4
    v6(0x3fff, 0, 0, 20),     // documentation
];

/// The well-known prefix of NAT64.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

/// The prefix of IPv4-mapped addresses.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// Which addresses may be called: those of the public internet, and whatever the operator allows.
/// Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Arc<[IpNet]>,
}

impl AddressPolicy {
    /// Allows `allowed` on top of the public internet.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> AddressPolicy {
        AddressPolicy {
            allowed: allowed.into_iter().map(canonical_range).collect(),
        }
    }

    /// Reads ranges as an operator writes them: `10.1.0.0/16`, `fd00::/8`, or one address.
    ///
    /// # Errors
    /// What was expected, with the text that is none.
    pub fn parse<'a>(ranges: impl IntoIterator<Item = &'a str>) -> Result<AddressPolicy, String> {
        let ranges = ranges.into_iter().map(|text| parse_range(text.trim()));
        Ok(AddressPolicy::new(ranges.collect::<Result<_, _>>()?))
    }

    /// Whether `address` may be called.
    ///
    /// An IPv4-mapped address is the IPv4 address that it maps.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|range| range.contains(&address))
    }
}

/// Whether a canonical address is on the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        // The translator of an IPv6-only network calls the embedded address for us, and name
        // servers there answer with nothing else for a host that has only IPv4.
        IpAddr::V6(address) if NAT64.contains(&address) => is_public_v4(embedded(address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !REFUSED_V6.iter().any(|net| net.contains(&address))
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !REFUSED_V4.iter().any(|net| net.contains(&address))
}

/// The IPv4 address in the last 32 bits.
fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

fn parse_range(text: &str) -> Result<IpNet, String> {
    let range = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            format!("must be a range of addresses such as 10.1.0.0/16 or fd00::/8; is {text:?}")
        })?;
    match range.trunc() {
        whole if whole == range => Ok(range),
        // Guessing whether the address or the prefix was meant could open a network.
        whole => Err(format!(
            "must have no bits beyond the prefix: {text} lies within {whole}"
        )),
    }
}

/// Addresses are judged in their canonical form, so ranges are kept in it too.
fn canonical_range(range: IpNet) -> IpNet {
    match range {
        IpNet::V6(mapped) if MAPPED.contains(&mapped) => {
            Ipv4Net::new(embedded(mapped.network()), mapped.prefix_len() - 96)
                .map_or(range, IpNet::V4)
        }
        _ => range,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// First and last address of each network, or one that stands for it.
    const INSIDE: &[&str] = &[
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.192",
        "192.0.0.255",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.254",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:0.0.0.0",
        "::ffff:10.1.2.3",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::",
        "fd00:ec2::254",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    ];

    const PUBLIC: &[&str] = &[
        "1.0.0.0",
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2606:4700:4700::1111",
        "2a00:1450:4001:800::200e",
    ];

    #[test]
    fn what_is_inside_a_network_is_refused_and_the_public_internet_is_not() {
        let policy = AddressPolicy::default();
        for inside in INSIDE {
            assert!(!policy.allows(address(inside)), "{inside}");
        }
        for public in PUBLIC {
            assert!(policy.allows(address(public)), "{public}");
        }
    }

    #[test]
    fn an_allowed_range_lets_exactly_its_addresses_through() {
        for (range, lets, refuses) in [
            (
                "127.0.0.0/8",
                &["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1"][..],
                &["::1", "10.0.0.1", "64:ff9b::127.0.0.1", "::127.0.0.1"][..],
            ),
            ("::1", &["::1"], &["::2", "127.0.0.1"]),
            ("10.1.0.0/16", &["10.1.2.3"], &["10.2.0.0", "10.0.255.255"]),
            ("10.1.2.3", &["10.1.2.3"], &["10.1.2.2", "10.1.2.4"]),
            ("fd00:1::/32", &["fd00:1::7"], &["fd00:2::7"]),
            (
                "::ffff:127.0.0.0/104",
                &["127.0.0.1", "::ffff:127.0.0.1"],
                &["10.0.0.1", "::1"],
            ),
            ("0.0.0.0/0", &["127.0.0.1", "255.255.255.255"], &["::1"]),
            ("64:ff9b::/96", &["64:ff9b::10.0.0.1"], &["10.0.0.1"]),
        ] {
            let policy = AddressPolicy::parse([range]).unwrap();
            for text in lets {
                assert!(policy.allows(address(text)), "{range} lets {text}");
            }
            for text in refuses {
                assert!(!policy.allows(address(text)), "{range} refuses {text}");
            }
            assert!(policy.allows(address("8.8.8.8")), "{range}");
        }
    }

    #[test]
    fn a_range_that_is_none_is_named() {
        for (text, told) in [
            ("", "such as 10.1.0.0/16"),
            ("localhost", "is \"localhost\""),
            ("10.0.0.0/33", "is \"10.0.0.0/33\""),
            ("127.1/8", "is \"127.1/8\""),
            ("127.0.0.1/8", "127.0.0.1/8 lies within 127.0.0.0/8"),
        ] {
            let error = AddressPolicy::parse([text]).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
