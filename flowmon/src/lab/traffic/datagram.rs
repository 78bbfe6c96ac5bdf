//! UDP: datagrams one at a time, and a name looked up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{Error, Exchange, Namespace, PATIENCE, any, make_in, unexpected};

/// The largest UDP payload.
const MAX_PAYLOAD: usize = 65_507;

/// `count` datagrams of `size` bytes to `address`, where the server is (any port for port 0).
/// Each one is sent after the one before has arrived and, if `echo`, has come back: no buffer
/// overflows. IP fragments what is larger than the MTU.
pub fn udp_exchange(
    client: &Namespace,
    server: &Namespace,
    address: SocketAddr,
    count: u32,
    size: u16,
    echo: bool,
) -> Result<Exchange, Error> {
    let exchange = || {
        let (near, far, peer) = pair(client, any(address.ip()), server, address)?;
        let datagram = vec![b'.'; size.into()];
        for _ in 0..count {
            near.send(&datagram)?;
            expect(&far, &datagram)?;
            if echo {
                far.send_to(&datagram, peer)?;
                expect(&near, &datagram)?;
            }
        }
        let sent = u64::from(count) * u64::from(size);
        let received = if echo { sent } else { 0 };
        Ok(Exchange {
            client: peer,
            server: far.local_addr()?,
            sent,
            received,
        })
    };
    exchange().map_err(|source| failed("UDP", client, address, source))
}

/// Looks up the IPv4 address of `name` (labels of at most 63 bytes, in ASCII) at a DNS server
/// that is started at `address`, commonly port 53, for this one question and says `answer`.
pub fn dns_lookup(
    client: &Namespace,
    server: &Namespace,
    address: SocketAddr,
    name: &str,
    answer: Ipv4Addr,
) -> Result<Exchange, Error> {
    let lookup = || {
        let (near, far, peer) = pair(client, any(address.ip()), server, address)?;
        let query = dns_query(name)?;
        let reply = dns_reply(&query, answer);
        near.send(&query)?;
        expect(&far, &query)?;
        far.send_to(&reply, peer)?;
        expect(&near, &reply)?;
        let (sent, received) = (query.len() as u64, reply.len() as u64);
        Ok(Exchange {
            client: peer,
            server: far.local_addr()?,
            sent,
            received,
        })
    };
    lookup().map_err(|source| failed("DNS", client, address, source))
}

/// The client's socket, the server's socket, and the client's address.
pub(super) fn pair(
    client: &Namespace,
    source: SocketAddr,
    server: &Namespace,
    address: SocketAddr,
) -> io::Result<(UdpSocket, UdpSocket, SocketAddr)> {
    let far = make_in(server, || UdpSocket::bind(address))?;
    let near = make_in(client, || UdpSocket::bind(source))?;
    near.connect(far.local_addr()?)?;
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    let peer = near.local_addr()?;
    Ok((near, far, peer))
}

pub(super) fn expect(socket: &UdpSocket, expected: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0; MAX_PAYLOAD];
    let length = socket.recv(&mut buffer)?;
    if buffer.get(..length) == Some(expected) {
        return Ok(());
    }
    Err(unexpected(format!(
        "another datagram arrived, of {length} bytes"
    )))
}

/// A recursive query for an A record (RFC 1035, section 4).
fn dns_query(name: &str) -> io::Result<Vec<u8>> {
    const HEADER: [u8; 12] = [0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    const ROOT_TYPE_A_CLASS_IN: [u8; 5] = [0, 0, 1, 0, 1];
    let mut query = HEADER.to_vec();
    for label in name.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..64).contains(length));
        query.push(length.ok_or_else(|| unexpected(format!("{name:?} is not a DNS name")))?);
        query.extend(label.as_bytes());
    }
    query.extend(ROOT_TYPE_A_CLASS_IN);
    Ok(query)
}

/// The query come back with one answer: its name points at the question's, and it may be kept
/// for a minute.
fn dns_reply(query: &[u8], answer: Ipv4Addr) -> Vec<u8> {
    const RESPONSE_COUNTS: [u8; 10] = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    const RECORD: [u8; 12] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];
    let (id, question) = (query.iter().take(2), query.iter().skip(12));
    let mut reply: Vec<u8> = id.copied().collect();
    reply.extend(RESPONSE_COUNTS);
    reply.extend(question);
    reply.extend(RECORD);
    reply.extend(answer.octets());
    reply
}

fn failed(what: &str, client: &Namespace, address: SocketAddr, source: io::Error) -> Error {
    Error::Traffic {
        exchange: format!("{what} from {} to {address}", client.name()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_messages_are_laid_out_as_rfc_1035_says() -> io::Result<()> {
        let query = dns_query("api.lab")?;
        assert_eq!(
            query,
            b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03api\x03lab\0\0\x01\0\x01"
        );
        let reply = dns_reply(&query, Ipv4Addr::new(10, 77, 0, 2));
        let expected = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x03api\x03lab\0\0\x01\0\x01\
            \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x4d\0\x02";
        assert_eq!(reply, expected);
        Ok(())
    }

    #[test]
    fn what_cannot_be_a_name_is_not_asked_for() {
        assert!(dns_query("a..b").is_err());
        assert!(dns_query(&"x".repeat(64)).is_err());
    }
}
