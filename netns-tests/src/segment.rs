//! A TCP segment, read from a frame by a parser that is not flowmon's.

/// What a segment says, of IPv4 over untagged Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Port it comes from.
    pub source: u16,
    /// Port it goes to.
    pub destination: u16,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Bytes of data.
    pub payload: u32,
    /// Advertised window, not scaled.
    pub window: u16,
    /// FIN is bit 0, SYN 1, RST 2, ACK 4.
    pub flags: u8,
}

impl Segment {
    /// The flag FIN.
    pub const FIN: u8 = 1;
    /// The flag SYN.
    pub const SYN: u8 = 2;
    /// The flag RST.
    pub const RST: u8 = 4;
    /// The flag ACK.
    pub const ACK: u8 = 16;

    /// Of a frame's first bytes; none when it holds something else.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        const IPV4: &[u8] = &[0x08, 0x00];
        const TCP: u8 = 6;
        let ip = frame.get(14..)?;
        if frame.get(12..14)? != IPV4 || *ip.get(9)? != TCP {
            return None;
        }
        let ip_header = usize::from(ip.first()? & 0xf) * 4;
        let tcp = ip.get(ip_header..)?;
        let tcp_header = usize::from(tcp.get(12)? >> 4) * 4;
        let total = usize::from(word(ip, 2)?);
        Some(Self {
            source: word(tcp, 0)?,
            destination: word(tcp, 2)?,
            sequence: u32::from(word(tcp, 4)?) << 16 | u32::from(word(tcp, 6)?),
            payload: u32::try_from(total.checked_sub(ip_header + tcp_header)?).ok()?,
            window: word(tcp, 14)?,
            flags: *tcp.get(13)?,
        })
    }

    /// Has it all of these flags?
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence number after it: SYN and FIN count as a byte each.
    pub fn end(&self) -> u32 {
        let flags = u32::from(self.has(Self::SYN)) + u32::from(self.has(Self::FIN));
        self.sequence.wrapping_add(self.payload + flags)
    }

    /// Is it, which takes sequence space, from before `sequence`?
    pub fn is_before(&self, sequence: u32) -> bool {
        self.end() != self.sequence && self.sequence.wrapping_sub(sequence).cast_signed() < 0
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let [high, low] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes([high, low]))
}
