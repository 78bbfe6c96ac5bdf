//! Filters on the clsact qdisc, for kernels without tcx. Unlike a tcx link they outlive the
//! process, so each names its owner, whose death can be told.
//!
//! The owner is a number, the filters' handle, and the sign of its life an abstract Unix socket of
//! that name: like the interface it belongs to a network namespace, and the kernel takes it away
//! with the process, however that ends.

mod messages;

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{self, ErrorKind},
    os::{
        fd::BorrowedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::Arc,
};

use messages::{Filter, Parent, TrafficControl};
use nix::libc::EINVAL;

/// Preferences of filters: the lowest is asked first, 0 leaves the choice to the kernel.
const FIRST: u16 = 1;
const ANY: u16 = 0;

/// Every filter's name begins so, and so does its owner's.
const OURS: &str = "flowmon_";
/// And ends so where a flowmon added the qdisc too, which goes with the last of these filters.
const WITH_QDISC: &str = "+clsact";

/// The handle of the daemon's filters, of which a network namespace has one. Those of others are odd.
const DAEMON: u32 = 0x666c_6f76;

/// Why there is no filter.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is an ingress qdisc, which has no place for what goes out: it would take a filter for
    /// that as one for what comes in.
    IngressQdisc,
    /// The kernel said no.
    Kernel(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Kernel(error)
    }
}

/// The owner of this process's filters, alive as long as this value.
#[derive(Debug)]
pub(super) struct Owner {
    handle: u32,
    _sign_of_life: UnixDatagram,
}

impl Owner {
    /// In the network namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        loop {
            // Random; not 0, which would be no handle.
            let handle = RandomState::new().hash_one(()) & 0x7fff_ffff | 1;
            let handle = u32::try_from(handle).unwrap_or(1);
            match UnixDatagram::bind_addr(&address(handle)?) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                result => {
                    return Ok(Self {
                        handle,
                        _sign_of_life: result?,
                    });
                }
            }
        }
    }

    /// The daemon of the calling thread's network namespace, whose filters outlive it; `AddrInUse`
    /// where there is one.
    pub(super) fn daemon() -> io::Result<Self> {
        Ok(Self {
            handle: DAEMON,
            _sign_of_life: UnixDatagram::bind_addr(&address(DAEMON)?)?,
        })
    }

    fn has(&self, filter: &Filter) -> bool {
        is_ours(filter) && filter.handle == self.handle
    }

    fn is_alive(handle: u32) -> io::Result<bool> {
        match UnixDatagram::unbound()?.connect_addr(&address(handle)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Are there filters of this owner's, both ways?
pub(super) fn is_attached(owner: &Owner, ifindex: u32) -> io::Result<bool> {
    let mut tc = TrafficControl::open()?;
    for parent in Parent::BOTH {
        let filters = tc.filters(ifindex, parent)?;
        if !filters.iter().any(|filter| owner.has(filter)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn address(handle: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{OURS}{handle:08x}"))
}

/// Both directions' filters of one interface. Dropping it removes them, unless they are a daemon's, and
/// the qdisc if that is a flowmon's and nobody else uses it.
pub(super) struct Filters {
    ifindex: u32,
    with_qdisc: bool,
    added: Vec<(Parent, Filter)>,
    owner: Arc<Owner>,
}

impl Filters {
    /// For `ingress` and `egress` of an interface, each with the name it shall have. Where the owner
    /// has a filter, it gets another program: no packet passes between them.
    pub(super) fn add(
        owner: &Arc<Owner>,
        ifindex: u32,
        ingress: (&str, BorrowedFd<'_>),
        egress: (&str, BorrowedFd<'_>),
    ) -> Result<Self, Refusal> {
        let mut tc = TrafficControl::open()?;
        let mut filters = Self {
            ifindex,
            with_qdisc: qdisc(&mut tc, ifindex)?,
            added: Vec::new(),
            owner: Arc::clone(owner),
        };
        let mark = if filters.with_qdisc { WITH_QDISC } else { "" };
        for (parent, (name, program)) in Parent::BOTH.into_iter().zip([ingress, egress]) {
            let mut filter = Filter {
                kind: "bpf".to_owned(),
                name: format!("{name}{mark}"),
                handle: owner.handle,
                preference: FIRST,
            };
            let mut there = tc.filters(ifindex, parent)?.into_iter();
            if let Some(known) = there.find(|found| owner.has(found)) {
                filter.preference = known.preference;
                tc.replace_filter(ifindex, parent, &filter, program)?;
                filters.added.push((parent, filter));
                continue;
            }
            let mut add = |filter: &Filter| tc.add_filter(ifindex, parent, filter, program);
            let preference = match add(&filter) {
                // A classifier of another kind has that place: the kernel gives us one behind it.
                Err(error) if error.raw_os_error() == Some(EINVAL) => {
                    filter.preference = ANY;
                    add(&filter)
                }
                other => other,
            };
            filter.preference = preference?;
            filters.added.push((parent, filter));
        }
        Ok(filters)
    }
}

impl Drop for Filters {
    fn drop(&mut self) {
        if self.owner.handle == DAEMON {
            return;
        }
        // Where the interface is gone all this is gone with it, and somebody may have removed a
        // part: what is left is removed all the same.
        let said = |result: io::Result<()>| {
            if let Err(error) = result {
                tracing::debug!(ifindex = self.ifindex, %error, "nothing to remove");
            }
        };
        let mut tc = match TrafficControl::open() {
            Ok(tc) => tc,
            Err(error) => return said(Err(error)),
        };
        for (parent, filter) in &self.added {
            said(tc.delete_filter(self.ifindex, *parent, filter));
        }
        if self.with_qdisc {
            said(remove_unused_qdisc(&mut tc, self.ifindex));
        }
    }
}

/// Makes sure that there is a clsact qdisc, and says whether a flowmon has added it.
fn qdisc(tc: &mut TrafficControl, ifindex: u32) -> Result<bool, Refusal> {
    match tc.add_clsact(ifindex) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        result => return Ok(result.map(|()| true)?),
    }
    let is_ingress = |(found, kind): &(u32, String)| *found == ifindex && kind == "ingress";
    if tc.qdiscs()?.iter().any(is_ingress) {
        return Err(Refusal::IngressQdisc);
    }
    for parent in Parent::BOTH {
        let filters = tc.filters(ifindex, parent)?;
        if filters
            .iter()
            .any(|filter| is_ours(filter) && filter.name.ends_with(WITH_QDISC))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_unused_qdisc(tc: &mut TrafficControl, ifindex: u32) -> io::Result<()> {
    for parent in Parent::BOTH {
        if !tc.filters(ifindex, parent)?.is_empty() {
            return Ok(());
        }
    }
    tc.delete_clsact(ifindex)
}

fn is_ours(filter: &Filter) -> bool {
    filter.kind == "bpf" && filter.name.starts_with(OURS)
}

/// Removes the filters, and the qdiscs, that flowmons left which were killed, in the network
/// namespace of the calling thread; not a daemon's, which the next daemon goes on with. Returns the
/// interface of each filter that was removed.
pub(super) fn remove_leftovers() -> io::Result<Vec<u32>> {
    remove(|_, filter| Ok(filter.handle != DAEMON && !Owner::is_alive(filter.handle)?))
}

/// Removes the daemon's filters, of one interface or of all, in the same way.
pub(super) fn remove_daemons(ifindex: Option<u32>) -> io::Result<Vec<u32>> {
    remove(|found, filter| {
        Ok(filter.handle == DAEMON && ifindex.is_none_or(|ifindex| ifindex == found))
    })
}

fn remove(is_it: impl Fn(u32, &Filter) -> io::Result<bool>) -> io::Result<Vec<u32>> {
    let mut tc = TrafficControl::open()?;
    let mut removed = Vec::new();
    for (ifindex, kind) in tc.qdiscs()? {
        if kind != "clsact" {
            continue;
        }
        let mut with_qdisc = false;
        for parent in Parent::BOTH {
            for filter in tc.filters(ifindex, parent)? {
                if is_ours(&filter) && is_it(ifindex, &filter)? {
                    tc.delete_filter(ifindex, parent, &filter)?;
                    with_qdisc |= filter.name.ends_with(WITH_QDISC);
                    removed.push(ifindex);
                }
            }
        }
        if with_qdisc {
            remove_unused_qdisc(&mut tc, ifindex)?;
        }
    }
    Ok(removed)
}
