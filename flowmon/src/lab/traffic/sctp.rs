//! SCTP without the kernel's: how an association begins, as a raw packet.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Namespace, PATIENCE, make_in};

/// IANA's number.
const SCTP: i32 = 132;

/// Sends an INIT chunk (RFC 9260, section 3.3.2) from one port to another, and waits until it has arrived. Nobody
/// answers, unless the kernel has SCTP: then it says that nobody is there.
pub(super) fn init(
    client: &Namespace,
    source: SocketAddr,
    server: &Namespace,
    target: SocketAddr,
) -> io::Result<()> {
    let far = make_in(server, || raw_socket(target.ip(), source.ip()))?;
    let near = make_in(client, || raw_socket(source.ip(), target.ip()))?;
    let packet = packet(source.port(), target.port());
    near.send(&packet)?;
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 128];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        far.set_read_timeout(Some(left))?;
        let length = (&far).read(&mut buffer)?;
        // Raw IPv4 sockets deliver the IP header too.
        if buffer.get(..length).is_some_and(|it| it.ends_with(&packet)) {
            return Ok(());
        }
    }
}

fn raw_socket(own: IpAddr, peer: IpAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(SocketAddr::new(own, 0));
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))?;
    socket.bind(&SocketAddr::new(own, 0).into())?;
    socket.connect(&SocketAddr::new(peer, 0).into())?;
    Ok(socket)
}

/// Common header and INIT chunk.
fn packet(source: u16, target: u16) -> Vec<u8> {
    const CHECKSUM_AT: usize = 8;
    const INIT: [u8; 20] = [
        1, 0, 0, 20, // type, flags, length
        0, 0, 0, 1, // initiate tag
        0, 1, 0, 0, // receiver window
        0, 1, 0, 1, // streams out and in
        0, 0, 0, 1, // transmission sequence number
    ];
    let with_checksum = |checksum: u32| {
        let mut packet = Vec::from(source.to_be_bytes());
        packet.extend(target.to_be_bytes());
        packet.extend([0; 4]); // verification tag
        debug_assert_eq!(packet.len(), CHECKSUM_AT, "RFC 9260, section 3.1");
        packet.extend(checksum.to_le_bytes());
        packet.extend(INIT);
        packet
    };
    with_checksum(crc32c(&with_checksum(0)))
}

/// CRC-32C, as RFC 9260 has it in appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78; // Castagnoli's, mirrored
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (POLYNOMIAL * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The catalogue's check value, and 32 zeros as in RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_init_is_laid_out_as_rfc_9260_says() {
        let packet = packet(50_000, 3868);
        assert_eq!(packet.len(), 32);
        assert_eq!(packet.get(..4), Some(&[0xc3, 0x50, 0x0f, 0x1c][..]));
        assert_eq!(packet.get(12), Some(&1));
    }
}
