//! Echo requests, of ICMP and of its IPv6 counterpart.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Error, Namespace, PATIENCE, make_in};

/// Length of the ICMP echo header: type, code, checksum, identifier, sequence number.
const ECHO_HEADER: usize = 8;

/// Sends `count` echo requests of `payload` bytes to `target`, each after the reply to the one
/// before, and returns how many were answered. Sequence numbers begin with 1.
pub fn ping(
    client: &Namespace,
    target: IpAddr,
    id: u16,
    count: u16,
    payload: u16,
) -> Result<u16, Error> {
    let echo = || {
        let socket = make_in(client, || raw_socket(None, target))?;
        let mut replies = 0;
        for sequence in 1..=count {
            socket.send(&echo_request(target, id, sequence, payload))?;
            replies += u16::from(is_answered(&socket, target, id, sequence)?);
        }
        Ok(replies)
    };
    let exchange = || format!("echo from {} to {target}", client.name());
    echo().map_err(|source| Error::Traffic {
        exchange: exchange(),
        source,
    })
}

/// One echo from `source`, answered.
pub(super) fn echo(
    client: &Namespace,
    source: IpAddr,
    target: IpAddr,
    id: u16,
    payload: u16,
) -> io::Result<()> {
    let socket = make_in(client, || raw_socket(Some(source), target))?;
    socket.send(&echo_request(target, id, 1, payload))?;
    if is_answered(&socket, target, id, 1)? {
        Ok(())
    } else {
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn raw_socket(source: Option<IpAddr>, target: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&SocketAddr::new(target, 0).into())?;
    Ok(socket)
}

fn echo_request(target: IpAddr, id: u16, sequence: u16, payload: u16) -> Vec<u8> {
    let kind = if target.is_ipv4() { 8 } else { 128 };
    let checksummed = |checksum: u16| {
        let mut message = vec![kind, 0];
        message.extend(checksum.to_be_bytes());
        message.extend(id.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.resize(ECHO_HEADER + usize::from(payload), b'.');
        message
    };
    // The kernel fills in the one of IPv6's, which covers addresses (RFC 3542, section 3.1).
    let checksum = if target.is_ipv4() {
        internet_checksum(&checksummed(0))
    } else {
        0
    };
    checksummed(checksum)
}

/// RFC 1071.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    !words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// Waits for the reply. A raw socket is told of every message of its protocol from the target.
fn is_answered(mut socket: &Socket, target: IpAddr, id: u16, sequence: u16) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 128];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut buffer) {
            Ok(_) if is_reply(&buffer, target, id, sequence) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn is_reply(packet: &[u8], target: IpAddr, id: u16, sequence: u16) -> bool {
    let (kind, message) = match target {
        // Raw IPv4 sockets deliver the IP header too, raw IPv6 sockets do not.
        IpAddr::V4(_) => {
            let header = packet
                .first()
                .map_or(0, |first| usize::from(first & 0x0f) * 4);
            (0, packet.get(header..))
        }
        IpAddr::V6(_) => (129, Some(packet)),
    };
    let [i0, i1] = id.to_be_bytes();
    let [s0, s1] = sequence.to_be_bytes();
    message.and_then(|message| message.get(4..ECHO_HEADER)) == Some(&[i0, i1, s0, s1])
        && message.and_then(<[u8]>::first) == Some(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_up_to_nothing() {
        // The example of RFC 1071, section 3.
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet_checksum(&words), !0xddf2);
        let request = echo_request(IpAddr::from([127, 0, 0, 1]), 7, 1, 3);
        assert_eq!(request.len(), 11);
        assert_eq!(internet_checksum(&request), 0);
    }

    #[test]
    fn only_the_reply_to_this_request_counts() {
        let target = IpAddr::from([0; 16]);
        assert!(is_reply(&[129, 0, 0, 0, 0, 7, 0, 1], target, 7, 1));
        assert!(!is_reply(&[128, 0, 0, 0, 0, 7, 0, 1], target, 7, 1));
        assert!(!is_reply(&[129, 0, 0, 0, 0, 7, 0, 2], target, 7, 1));
        assert!(!is_reply(&[129, 0, 0], target, 7, 1));
    }
}
