//! The golden frames of `flowmon-common/testdata/frames`: what they are and how to read them.
//!
//! To add one, write a file there. Its lines are:
//!
//! - `# what it is`, with the RFC that says so;
//! - `| label: 0a0b 0c*18 …`: bytes of the frame, in hex, a header a line. The label is for people,
//!   spaces are where they help, `0c*18` is a byte 18 times;
//! - `key: value`: about the frame `vlan_tci` (the tag that the device took out) and `segments`
//!   (frames on the wire that the buffer stands for); `answers` (the frame of which it is the
//!   answer, going the other way); then the expectation, either `refused: truncated_network` or
//!   the fields of [`Parsed`], `packets` and `bytes` on the wire and, of an ICMP error, `quotes`
//!   (source, destination, protocol and ports of the packet it quotes, or `nothing`).
//!
//! What is left out is 0 or `no`; `packets` is then 1, `bytes` the frame's length.
#![expect(
    clippy::panic,
    reason = "a golden frame that cannot be read is a failing test"
)]

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use flowmon_common::{
    Address, Counter, Frame, Parsed, Refusal, Traffic,
    parse::{Fragment, Sender},
};

/// Both crates that read the frames are next to each other.
const FRAMES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../flowmon-common/testdata/frames"
);

/// A frame and what is to be made of it.
#[derive(Debug, Clone)]
pub(crate) struct Golden {
    /// The file's name, without its extension.
    pub(crate) name: String,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
    /// The tag that the device took out of it.
    pub(crate) vlan_tci: Option<u16>,
    /// Frames on the wire that it stands for; 0 when it is not a GSO buffer.
    pub(crate) segments: u32,
    /// The golden frame that it answers.
    pub(crate) answers: Option<String>,
    /// What parsing it gives.
    pub(crate) expected: Result<Flow, Refusal>,
}

/// What is expected of a frame that belongs to a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Everything that is read from it.
    pub(crate) packet: Parsed,
    /// What it counts for.
    pub(crate) traffic: Traffic,
    /// Of an ICMP error: the packet it quotes.
    pub(crate) quotes: Option<Quote>,
}

/// What an ICMP error tells of the packet it quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Source address.
    pub(crate) source: Address,
    /// Destination address.
    pub(crate) destination: Address,
    /// IP protocol number.
    pub(crate) protocol: u8,
    /// Source and destination port.
    pub(crate) ports: (u16, u16),
}

impl Golden {
    /// The frame as the parser takes it.
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame {
            vlan_tci: self.vlan_tci,
            ..Frame::ethernet(&self.bytes)
        }
    }

    /// Can `BPF_PROG_TEST_RUN` be given the frame? It takes no tag as metadata.
    pub(crate) fn kernel_takes_it(&self) -> bool {
        self.vlan_tci.is_none() && kernel_takes(&self.bytes)
    }
}

/// `BPF_PROG_TEST_RUN` takes nothing without an Ethernet header and something behind it, no IP
/// packet shorter than its header, and not much more than a page.
pub(crate) fn kernel_takes(frame: &[u8]) -> bool {
    let shortest = match frame.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => 15,
    };
    (shortest..=3500).contains(&frame.len())
}

/// All golden frames, by name.
pub(crate) fn load() -> Vec<Golden> {
    let mut paths: Vec<_> = fs::read_dir(FRAMES)
        .unwrap_or_else(|error| panic!("{FRAMES}: {error}"))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some("frame".as_ref()))
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Golden {
    let mut bytes = Vec::new();
    let mut fields = Fields {
        file: path.display().to_string(),
        values: BTreeMap::new(),
    };
    let text = fs::read_to_string(path).unwrap_or_else(|error| fields.bad(&error.to_string()));
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(hex) = line.strip_prefix('|') {
            let hex = hex.split_once(':').map_or(hex, |(_, hex)| hex);
            for word in hex.split_whitespace() {
                bytes.extend(word_bytes(word).unwrap_or_else(|| fields.bad(word)));
            }
        } else {
            fields.add(line);
        }
    }
    let golden = Golden {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        vlan_tci: fields.take("vlan_tci").map(|value| fields.number(&value)),
        segments: fields.take_number("segments"),
        answers: fields.take("answers"),
        expected: match fields.take("refused") {
            Some(refusal) => Err(fields.refusal(&refusal)),
            None => Ok(fields.flow(bytes.len())),
        },
        bytes,
    };
    assert!(
        fields.values.is_empty(),
        "{}: unknown: {:?}",
        fields.file,
        fields.values
    );
    golden
}

/// `0a0b0c`, or `0a*18`.
fn word_bytes(word: &str) -> Option<Vec<u8>> {
    if let Some((byte, times)) = word.split_once('*') {
        return Some(vec![
            u8::from_str_radix(byte, 16).ok()?;
            times.parse().ok()?
        ]);
    }
    let (pairs, []) = word.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// The `key: value` lines of a file which were not used yet.
struct Fields {
    file: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    fn bad(&self, what: &str) -> ! {
        panic!("{}: not understood: {what}", self.file)
    }

    fn add(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(": ") else {
            self.bad(line);
        };
        let twice = self.values.insert(key.to_owned(), value.trim().to_owned());
        assert!(twice.is_none(), "{}: {key} twice", self.file);
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    fn number<T: TryFrom<u32>>(&self, value: &str) -> T {
        let number = match value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => value.parse().ok(),
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        number.unwrap_or_else(|| self.bad(value))
    }

    fn take_number<T: TryFrom<u32> + Default>(&mut self, key: &str) -> T {
        let value = self.take(key);
        value.map_or_else(T::default, |value| self.number(&value))
    }

    fn address(&self, value: &str) -> Address {
        match value.parse() {
            Ok(IpAddr::V4(v4)) => v4.into(),
            Ok(IpAddr::V6(v6)) => v6.into(),
            Err(_) => self.bad(value),
        }
    }

    fn take_address(&mut self, key: &str) -> Address {
        let value = self.take(key);
        value.map_or(Address::NONE, |value| self.address(&value))
    }

    /// One of the `choices`, which are all there are; the first when nothing is said.
    fn take_choice<T: Copy, const N: usize>(&mut self, key: &str, choices: [(&str, T); N]) -> T {
        let value = self.take(key);
        choices
            .iter()
            .find(|(name, _)| value.as_ref().is_none_or(|value| value == name))
            .unwrap_or_else(|| self.bad(key))
            .1
    }

    fn refusal(&self, label: &str) -> Refusal {
        [
            Refusal::TruncatedLink,
            Refusal::TruncatedNetwork,
            Refusal::BadNetwork,
            Refusal::TruncatedTransport,
            Refusal::BadTransport,
            Refusal::TooManyExtensions,
        ]
        .into_iter()
        .find(|refusal| Counter::from(*refusal).label() == label)
        .unwrap_or_else(|| self.bad(label))
    }

    fn flow(&mut self, frame_len: usize) -> Flow {
        let packet = Parsed {
            source: self.take_address("source"),
            destination: self.take_address("destination"),
            source_port: self.take_number("source_port"),
            destination_port: self.take_number("destination_port"),
            vlan: self.take_number("vlan"),
            protocol: self.take_number("protocol"),
            l3: self.take_number("l3"),
            header_len: self.take_number("header_len"),
            payload_len: self.take_number("payload_len"),
            sequence: self.take_number("sequence"),
            acknowledgement: self.take_number("acknowledgement"),
            window: self.take_number("window"),
            tcp_header: self.values.contains_key("tcp_flags"),
            tcp_flags: self.take_number("tcp_flags"),
            sender: self.take_choice(
                "sender",
                [
                    ("speaks", Sender::Speaks),
                    ("opens", Sender::Opens),
                    ("answers", Sender::Answers),
                    ("continues", Sender::Continues),
                ],
            ),
            fragment: self.take_choice(
                "fragment",
                [
                    ("no", Fragment::No),
                    ("first", Fragment::First),
                    ("later", Fragment::Later),
                ],
            ),
            fragment_id: self.take_number("fragment_id"),
            icmp_error: self.take_choice("icmp_error", [("no", false), ("yes", true)]),
            jumbo: self.take_choice("jumbo", [("no", false), ("yes", true)]),
        };
        let packets = self.take("packets");
        let bytes = self.take("bytes");
        let traffic = Traffic {
            packets: packets.map_or(1, |value| self.number(&value)),
            bytes: bytes.map_or(frame_len as u64, |value| self.number(&value)),
        };
        let quotes = self.take("quotes").and_then(|value| self.quote(&value));
        Flow {
            packet,
            traffic,
            quotes,
        }
    }

    fn quote(&self, value: &str) -> Option<Quote> {
        match value.split_whitespace().collect::<Vec<_>>()[..] {
            ["nothing"] => None,
            [source, destination, protocol, source_port, destination_port] => Some(Quote {
                source: self.address(source),
                destination: self.address(destination),
                protocol: self.number(protocol),
                ports: (self.number(source_port), self.number(destination_port)),
            }),
            _ => self.bad(value),
        }
    }
}
