//! What a daemon leaves behind, so that the next one counts on where it was: maps and links, in
//! bpffs.
//!
//! `/sys/fs/bpf/flowmon/NETNS/LAYOUT/` has the maps by their names, and for each interface a folder
//! called by its index: the links, and a symbolic link that says the interface's name. A network
//! namespace has one daemon: [`Owner::daemon`] is its sign of life. Maps that are laid out otherwise
//! are in another folder, and of no use.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt as _, symlink},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use flowmon_common::layout;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{
    Error, Hook,
    clsact::{self, Owner},
    link,
};

const BPFFS: &str = "/sys/fs/bpf";
const OURS: &str = "flowmon";

/// In the folder of an interface: what comes in, and what goes out.
const LINKS: [&str; 2] = ["ingress", "egress"];
const NAME: &str = "name";

/// The folder of this network namespace's daemon, which this process is.
#[derive(Debug)]
pub(super) struct Pins {
    folder: PathBuf,
    owner: Arc<Owner>,
}

impl Pins {
    /// Makes this process the daemon of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, Error> {
        let owner = Arc::new(daemon()?);
        let home = home().map_err(|error| Error::Pins {
            path: BPFFS.into(),
            error,
        })?;
        let folder = home.join(layout_name());
        let failed = |error| Error::Pins {
            path: folder.clone(),
            error,
        };
        is_bpffs().map_err(failed)?;
        fs::create_dir_all(&folder).map_err(failed)?;
        for other in folders(&home).map_err(failed)? {
            if other != folder {
                remove(&other).map_err(failed)?;
                tracing::warn!(
                    "what the flowmon before this one counted is laid out otherwise than this one \
                     reads it: it was removed, and counting begins anew"
                );
            }
        }
        Ok(Self { folder, owner })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) const fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    fn of(&self, ifindex: u32) -> PathBuf {
        self.folder.join(ifindex.to_string())
    }

    /// How both directions of an interface are attached to, if they are. Not by links of an interface
    /// that is gone, whoever has its index.
    pub(super) fn hook(&self, ifindex: u32) -> Option<Hook> {
        if self.links(ifindex).is_some() {
            return Some(Hook::Tcx);
        }
        let filters = clsact::is_attached(&self.owner, ifindex).unwrap_or_default();
        filters.then_some(Hook::Clsact)
    }

    /// The links of an interface, ingress first.
    pub(super) fn links(&self, ifindex: u32) -> Option<[OwnedFd; 2]> {
        let open = |name| {
            let link = link::pinned(&self.of(ifindex).join(name)).ok()?;
            (link::ifindex(link.as_fd()).ok()? == ifindex).then_some(link)
        };
        let [ingress, egress] = LINKS;
        Some([open(ingress)?, open(egress)?])
    }

    /// What an interface was called when it was attached to; empty when that is not known.
    pub(super) fn name(&self, ifindex: u32) -> String {
        fs::read_link(self.of(ifindex).join(NAME))
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Notes what an interface is called.
    pub(super) fn note(&self, ifindex: u32, name: &str) -> io::Result<()> {
        let folder = self.of(ifindex);
        if folder.exists() {
            remove(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        symlink(name, folder.join(NAME))
    }

    /// Has these links outlive this process, ingress first.
    pub(super) fn pin(&self, ifindex: u32, links: [BorrowedFd<'_>; 2]) -> io::Result<()> {
        for (name, link) in LINKS.into_iter().zip(links) {
            link::pin(link, &self.of(ifindex).join(name))?;
        }
        Ok(())
    }

    /// Detaches from an interface, there or gone.
    pub(super) fn detach(&self, ifindex: u32) -> io::Result<()> {
        clsact::remove_daemons(Some(ifindex))?;
        match remove(&self.of(ifindex)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

fn daemon() -> Result<Owner, Error> {
    Owner::daemon().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::Running,
        _ => Error::System {
            call: "binding the daemon's socket",
            error,
        },
    })
}

/// What a dead daemon left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The interface of each of its filters.
    pub filters: Vec<u32>,
    /// Were there maps and links?
    pub pins: bool,
}

/// Removes what a dead daemon left in the network namespace of the calling thread; of a live one,
/// nothing ([`Error::Running`]).
pub(super) fn remove_left() -> Result<Left, Error> {
    let owner = daemon()?; // nobody becomes it meanwhile
    let filters = clsact::remove_daemons(None).map_err(|error| Error::System {
        call: "removing filters",
        error,
    })?;
    let mut left = Left {
        filters,
        pins: false,
    };
    let removed = home().and_then(|home| {
        if !home.exists() {
            return Ok(());
        }
        left.pins = true;
        remove(&home)?;
        // Those of other network namespaces may be there.
        let _stays = home.parent().map(fs::remove_dir);
        Ok(())
    });
    removed.map_err(|error| Error::Pins {
        path: BPFFS.into(),
        error,
    })?;
    drop(owner);
    Ok(left)
}

fn is_bpffs() -> io::Result<()> {
    if statfs(BPFFS)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    Err(io::Error::other("no BPF file system is mounted there"))
}

/// The folder of the calling thread's network namespace: by its cookie, which no other ever gets
/// (Linux 5.14), or by its inode number.
fn home() -> io::Result<PathBuf> {
    let name = match cookie() {
        Ok(cookie) => format!("netns-{cookie}"),
        Err(_) => format!("netns-i{}", fs::metadata("/proc/thread-self/ns/net")?.ino()),
    };
    Ok([BPFFS, OURS, &name].iter().collect())
}

fn cookie() -> io::Result<u64> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut length = nix::libc::socklen_t::try_from(size_of::<u64>()).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, and how many to `length`.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// The part of the layout's mark that differs.
fn layout_name() -> String {
    let bytes = layout::MARK.iter().skip(18);
    let number = bytes.fold(0, |number, &byte| number << 8 | u64::from(byte));
    format!("layout-{number:012x}")
}

fn folders(of: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(of)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a folder, and detaches the links in it: to remove the file of one is to detach it some
/// time later.
fn remove(folder: &Path) -> io::Result<()> {
    for name in LINKS {
        let Ok(link) = link::pinned(&folder.join(name)) else {
            continue;
        };
        if let Err(error) = link::detach(link.as_fd()) {
            tracing::debug!(?folder, %error, "nothing to detach");
        }
    }
    for inner in folders(folder)? {
        remove(&inner)?;
    }
    fs::remove_dir_all(folder)
}

#[cfg(test)]
mod tests {
    use super::layout_name;

    #[test]
    fn a_folder_is_called_by_its_layout() {
        let name = layout_name();
        assert_eq!(name.len(), "layout-".len() + 12, "{name}");
        assert!(!name.contains('.'), "bpffs keeps names with dots to itself");
    }
}
