//! Messages of traffic control (`rtnetlink(7)`, `include/uapi/linux/rtnetlink.h`): qdiscs and
//! their eBPF filters, by interface index.

use std::{
    io::{self, Read as _},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use nix::libc::{
    ENOBUFS, ETH_P_ALL, NETLINK_ROUTE, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_ECHO, NLM_F_EXCL,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTM_DELQDISC, RTM_DELTFILTER, RTM_GETQDISC,
    RTM_GETTFILTER, RTM_NEWQDISC, RTM_NEWTFILTER, TCA_KIND, TCA_OPTIONS,
};
use socket2::{Domain, Protocol, Socket, Type};

/// `TC_H_CLSACT`: the handle's major number, and the parent of the qdisc itself.
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_PARENT: u32 = 0xffff_fff1;

/// `TCA_BPF_*` (`include/uapi/linux/pkt_cls.h`).
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// Longer than any datagram the kernel sends (`netlink_recvmsg`).
const DATAGRAM: usize = 64 * 1024;

/// Which filters of a clsact qdisc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Parent {
    Ingress = 0xffff_fff2,
    Egress = 0xffff_fff3,
}

impl Parent {
    pub(super) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// A filter as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// `bpf`, `u32`, `flower`, …
    pub(super) kind: String,
    /// The name that whoever added it gave it (`TCA_BPF_NAME`).
    pub(super) name: String,
    /// Tells it from others of its kind and preference.
    pub(super) handle: u32,
    /// Its preference: the lowest is asked first.
    pub(super) preference: u16,
}

/// A conversation with the kernel about the network namespace of the thread that opened it.
pub(super) struct TrafficControl {
    socket: Socket,
    sequence: u32,
}

/// `struct tcmsg`, without the family, which is unspecified.
#[derive(Default)]
struct Header {
    ifindex: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl TrafficControl {
    pub(super) fn open() -> io::Result<Self> {
        let domain = Domain::from(nix::libc::AF_NETLINK);
        let protocol = Protocol::from(NETLINK_ROUTE);
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// The kind of qdisc in the place of clsact, for every interface that has one.
    pub(super) fn qdiscs(&mut self) -> io::Result<Vec<(u32, String)>> {
        let mut found = Vec::new();
        let everything = Header::default();
        self.ask(
            RTM_GETQDISC,
            NLM_F_DUMP,
            &everything,
            &[],
            |header, attributes| {
                if header.handle == CLSACT_HANDLE {
                    found.push((header.ifindex, text(attributes, TCA_KIND)));
                }
            },
        )?;
        Ok(found)
    }

    /// Adds a clsact qdisc; `EEXIST` where there is one, or an ingress qdisc.
    pub(super) fn add_clsact(&mut self, ifindex: u32) -> io::Result<()> {
        let mut attributes = Vec::new();
        attribute(&mut attributes, TCA_KIND, b"clsact\0");
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.ask(
            RTM_NEWQDISC,
            flags,
            &clsact(ifindex),
            &attributes,
            |_, _| {},
        )
    }

    pub(super) fn delete_clsact(&mut self, ifindex: u32) -> io::Result<()> {
        self.ask(RTM_DELQDISC, 0, &clsact(ifindex), &[], |_, _| {})
    }

    pub(super) fn filters(&mut self, ifindex: u32, parent: Parent) -> io::Result<Vec<Filter>> {
        let mut found = Vec::new();
        let of = Header {
            ifindex,
            parent: parent as u32,
            ..Header::default()
        };
        self.ask(
            RTM_GETTFILTER,
            NLM_F_DUMP,
            &of,
            &[],
            |header, attributes| {
                found.push(Filter {
                    kind: text(attributes, TCA_KIND),
                    name: text(value(attributes, TCA_OPTIONS), TCA_BPF_NAME),
                    handle: header.handle,
                    preference: preference(header),
                });
            },
        )?;
        // Each classifier is listed once by itself, without a filter.
        found.retain(|filter| filter.handle != 0);
        Ok(found)
    }

    /// Adds an eBPF program as a filter that decides by itself, and says which preference it has:
    /// the one in `filter`, or the kernel's choice for 0.
    pub(super) fn add_filter(
        &mut self,
        ifindex: u32,
        parent: Parent,
        filter: &Filter,
        program: BorrowedFd<'_>,
    ) -> io::Result<u16> {
        self.put_filter(ifindex, parent, filter, program, NLM_F_EXCL)
    }

    /// As [`Self::add_filter`], in the place of the one with this handle and preference, at once
    /// (`list_replace_rcu` in `cls_bpf_change`).
    pub(super) fn replace_filter(
        &mut self,
        ifindex: u32,
        parent: Parent,
        filter: &Filter,
        program: BorrowedFd<'_>,
    ) -> io::Result<u16> {
        self.put_filter(ifindex, parent, filter, program, 0)
    }

    fn put_filter(
        &mut self,
        ifindex: u32,
        parent: Parent,
        filter: &Filter,
        program: BorrowedFd<'_>,
        exclusively: i32,
    ) -> io::Result<u16> {
        let mut options = Vec::new();
        attribute(&mut options, TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
        attribute(
            &mut options,
            TCA_BPF_NAME,
            &[filter.name.as_bytes(), b"\0"].concat(),
        );
        attribute(
            &mut options,
            TCA_BPF_FLAGS,
            &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes(),
        );
        let mut attributes = Vec::new();
        attribute(&mut attributes, TCA_KIND, b"bpf\0");
        attribute(&mut attributes, TCA_OPTIONS, &options);
        let flags = NLM_F_CREATE | NLM_F_ECHO | exclusively;
        let mut given = filter.preference;
        let place = place(ifindex, parent, filter);
        self.ask(RTM_NEWTFILTER, flags, &place, &attributes, |header, _| {
            given = preference(header);
        })?;
        Ok(given)
    }

    pub(super) fn delete_filter(
        &mut self,
        ifindex: u32,
        parent: Parent,
        filter: &Filter,
    ) -> io::Result<()> {
        let mut attributes = Vec::new();
        attribute(&mut attributes, TCA_KIND, b"bpf\0");
        let place = place(ifindex, parent, filter);
        self.ask(RTM_DELTFILTER, 0, &place, &attributes, |_, _| {})
    }

    /// Sends a request and hands over each message of the answer, to its end.
    fn ask(
        &mut self,
        kind: u16,
        flags: i32,
        header: &Header,
        attributes: &[u8],
        mut each: impl FnMut(&Header, &[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.socket
            .send(&request(kind, flags, self.sequence, header, attributes))?;
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let length = (&self.socket).read(&mut datagram)?;
            let mut rest = datagram.get(..length).unwrap_or_default();
            while let Some((kind, sequence, payload)) = next_message(&mut rest) {
                if sequence != self.sequence {
                    continue;
                }
                match i32::from(kind) {
                    NLMSG_DONE => return Ok(()),
                    // 0 acknowledges.
                    NLMSG_ERROR => match word(payload, 0).map(u32::cast_signed) {
                        Some(0) => return Ok(()),
                        error => {
                            let errno = error.unwrap_or(-ENOBUFS);
                            return Err(io::Error::from_raw_os_error(-errno));
                        }
                    },
                    _ => {
                        if let Some((header, attributes)) = described(payload) {
                            each(&header, attributes);
                        }
                    }
                }
            }
        }
    }
}

const fn clsact(ifindex: u32) -> Header {
    Header {
        ifindex,
        handle: CLSACT_HANDLE,
        parent: CLSACT_PARENT,
        info: 0,
    }
}

fn place(ifindex: u32, parent: Parent, filter: &Filter) -> Header {
    let protocol = u16::try_from(ETH_P_ALL).unwrap_or_default().to_be();
    Header {
        ifindex,
        handle: filter.handle,
        parent: parent as u32,
        info: u32::from(filter.preference) << 16 | u32::from(protocol),
    }
}

fn preference(header: &Header) -> u16 {
    u16::try_from(header.info >> 16).unwrap_or_default()
}

fn request(kind: u16, flags: i32, sequence: u32, header: &Header, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + 20 + attributes.len()).unwrap_or(u32::MAX);
    let flags = u16::try_from(flags).unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]); // from: the kernel knows
    bytes.extend([0; 4]); // AF_UNSPEC, and padding
    for word in [header.ifindex, header.handle, header.parent, header.info] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(attributes);
    bytes
}

/// Appends an attribute, padded to a multiple of four bytes.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Type, sequence number and payload of the next message; none when the rest is not a whole one.
fn next_message<'a>(datagram: &mut &'a [u8]) -> Option<(u16, u32, &'a [u8])> {
    let length = word(datagram, 0)? as usize;
    let kind = half_word(datagram, 4)?;
    let sequence = word(datagram, 8)?;
    let payload = datagram.get(16..length)?;
    *datagram = datagram
        .get(length.next_multiple_of(4)..)
        .unwrap_or_default();
    Some((kind, sequence, payload))
}

/// A message's `struct tcmsg`, and what comes behind it.
fn described(payload: &[u8]) -> Option<(Header, &[u8])> {
    let word = |at| word(payload, at);
    let header = Header {
        ifindex: word(4)?,
        handle: word(8)?,
        parent: word(12)?,
        info: word(16)?,
    };
    Some((header, payload.get(20..)?))
}

/// The value of the first attribute of this type; empty when there is none.
fn value(mut attributes: &[u8], kind: u16) -> &[u8] {
    const TYPE: u16 = 0x3fff; // NLA_TYPE_MASK
    while let (Some(length), Some(found)) = (
        half_word(attributes, 0).map(usize::from),
        half_word(attributes, 2),
    ) {
        let Some(value) = attributes.get(4..length) else {
            break;
        };
        if found & TYPE == kind {
            return value;
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    &[]
}

/// An attribute that is a C string.
fn text(attributes: &[u8], kind: u16) -> String {
    let bytes = value(attributes, kind);
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half_word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::{attribute, next_message, text, value};

    #[test]
    fn attributes_are_found_behind_padding() {
        let mut inner = Vec::new();
        attribute(&mut inner, 7, b"odd\0");
        let mut all = Vec::new();
        attribute(&mut all, 1, b"bpf12\0");
        attribute(&mut all, 2 | 0x8000, &inner); // NLA_F_NESTED
        assert_eq!(text(&all, 1), "bpf12");
        assert_eq!(text(value(&all, 2), 7), "odd");
        assert_eq!(text(&all, 3), "");
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let message = |length| {
            [
                length, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4,
            ]
        };
        let whole = message(20);
        let mut rest = whole.as_slice();
        let expected: (u16, u32, &[u8]) = (3, 9, &[1, 2, 3, 4]);
        assert_eq!(next_message(&mut rest), Some(expected));
        assert_eq!(next_message(&mut rest), None);
        for length in [0, 15, 21, 255] {
            let message = message(length);
            assert_eq!(next_message(&mut message.as_slice()), None, "{length}");
        }
        for length in 0..20 {
            let mut cut: &[u8] = whole.get(..length).unwrap_or_default();
            assert_eq!(next_message(&mut cut), None, "{length}");
        }
        // An attribute that says it is shorter than its header ends the search.
        assert_eq!(text(&[3, 0, 1, 0, b'x', 0, 0, 0], 1), "");
    }
}
