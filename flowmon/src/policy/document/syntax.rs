//! What names, labels, ports and addresses may look like (`k8s.io/apimachinery/pkg/util/validation`).

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::policy::model::PortProtocol;

/// Why something is not what it should be.
pub(super) type Complaint = &'static str;

/// RFC 1123 label: `a-z`, `0-9`, `-` inside, 63 at most.
pub(super) fn dns_label(text: &str) -> Result<(), Complaint> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= 63 && text.bytes().all(inside) && between_alphanumerics(text) {
        Ok(())
    } else {
        Err(
            "expected an RFC 1123 label: lower case letters, digits and `-`, beginning and ending \
             with a letter or digit, 63 characters at most",
        )
    }
}

/// RFC 1123 subdomain: such labels (of any length) with dots between, 253 characters at most.
pub(super) fn dns_subdomain(text: &str) -> Result<(), Complaint> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| label.bytes().all(inside) && between_alphanumerics(label);
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(())
    } else {
        Err(
            "expected an RFC 1123 subdomain: lower case letters, digits, `-` and `.`, each part \
             beginning and ending with a letter or digit, 253 characters at most",
        )
    }
}

/// Key of a label or annotation: an optional subdomain and `/`, then a name.
pub(super) fn label_key(text: &str) -> Result<(), Complaint> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_some_and(|prefix| dns_subdomain(prefix).is_err()) {
        return Err("the part before `/` must be an RFC 1123 subdomain, in lower case");
    }
    if is_name(name) {
        Ok(())
    } else {
        Err(
            "a label's name consists of letters, digits, `-`, `_` and `.`, begins and ends with a \
             letter or digit, and has 63 characters at most",
        )
    }
}

/// Value of a label: empty, or like a name.
pub(super) fn label_value(text: &str) -> Result<(), Complaint> {
    if text.is_empty() || is_name(text) {
        Ok(())
    } else {
        Err(
            "a label's value is empty, or consists of letters, digits, `-`, `_` and `.`, begins \
             and ends with a letter or digit, and has 63 characters at most",
        )
    }
}

/// IANA service name (RFC 6335), as containers name their ports.
pub(super) fn port_name(text: &str) -> Result<(), Complaint> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.len() <= 15
        && text.bytes().all(inside)
        && between_alphanumerics(text)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.contains("--")
    {
        Ok(())
    } else {
        Err(
            "a port's name has 15 characters at most, of lower case letters, digits and `-`, a \
             letter among them, no `-` at an end or beside another",
        )
    }
}

/// A domain name of the admin kinds, with `*.` at the start or without.
pub(super) fn domain_name(text: &str) -> Result<(), Complaint> {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let rest = rest.strip_suffix('.').unwrap_or(rest);
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| label.bytes().all(inside) && between_alphanumerics(label);
    if rest.contains('.') && rest.split('.').all(label) {
        Ok(())
    } else {
        Err("expected a domain name of two labels or more, `*` only as the first one")
    }
}

/// A port's number.
pub(super) fn port(value: i64) -> Result<u16, Complaint> {
    match u16::try_from(value) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port is between 1 and 65535"),
    }
}

/// TCP, UDP or SCTP.
pub(super) fn protocol(text: &str) -> Result<PortProtocol, Complaint> {
    match text {
        "TCP" => Ok(PortProtocol::Tcp),
        "UDP" => Ok(PortProtocol::Udp),
        "SCTP" => Ok(PortProtocol::Sctp),
        _ => Err("the protocols are TCP, UDP and SCTP, in capitals"),
    }
}

/// A network with its host bits masked, and whether there were any.
///
/// Stricter than the API server, where it reads what others read otherwise (KEP-4858): no leading
/// zeros, no IPv4 address in an IPv6 one.
pub(super) fn cidr(text: &str) -> Result<(IpNetwork, bool), Complaint> {
    const EXPECTED: &str = "expected a network like 10.9.8.0/24 or fd01::/64";
    let (address, prefix) = text.split_once('/').ok_or(EXPECTED)?;
    let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
    if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err(
            "an IPv4 address in an IPv6 one is read differently by different programs: \
                    write it as IPv4",
        );
    }
    let is_plain = prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix == "0" || !prefix.starts_with('0'));
    let prefix: u8 = prefix.parse().ok().filter(|_| is_plain).ok_or(EXPECTED)?;
    let network = IpNetwork::new(address, prefix).map_err(|_| EXPECTED)?;
    let masked = IpNetwork::new(network.network(), prefix).map_err(|_| EXPECTED)?;
    Ok((masked, network.network() != address))
}

fn between_alphanumerics(text: &str) -> bool {
    let fine = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    fine(text.as_bytes().first()) && fine(text.as_bytes().last())
}

fn is_name(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= 63 && text.bytes().all(inside) && between_alphanumerics(text)
}
