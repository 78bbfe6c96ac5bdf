//! The ring buffers: new flows, and the kernel side's own messages.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use flowmon_common::NewFlow;
use tokio::io::{Interest, unix::AsyncFd};

use super::Error;

/// New flows, as they come.
pub struct Events(AsyncFd<RingBuf<MapData>>);

impl Events {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf
            .take_map("EVENTS")
            .ok_or(Error::Mismatch { name: "EVENTS" })?;
        Ok(Self(register(RingBuf::try_from(map)?)?))
    }

    /// Waits until there is something to [`Self::take`], all of which is then to be taken: the
    /// kernel wakes us again only for what comes into an empty ring. Cancel-safe.
    pub async fn ready(&mut self) -> io::Result<()> {
        self.0.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Takes all there is, without waiting. A record of another kind is passed over.
    pub fn take(&mut self, mut each: impl FnMut(NewFlow)) {
        while let Some(record) = self.0.get_mut().next() {
            if let Some(event) = NewFlow::decode(&record) {
                each(event);
            }
        }
    }
}

/// What the programs log by aya-log: rare, for diagnosis.
pub struct Diagnostics(AsyncFd<EbpfLogger<&'static dyn log::Log>>);

impl Diagnostics {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let logger = EbpfLogger::init(ebpf).map_err(|_| Error::Mismatch { name: "AYA_LOGS" })?;
        Ok(Self(register(logger)?))
    }

    /// Waits for messages and passes them to the log. Cancel-safe.
    pub async fn forward(&mut self) -> io::Result<()> {
        let mut guard = self.0.readable_mut().await?;
        guard.get_inner_mut().flush();
        guard.clear_ready();
        Ok(())
    }
}

fn register<T: AsFd + AsRawFd>(source: T) -> Result<AsyncFd<T>, Error> {
    // SAFETY: both kinds of source own the map whose descriptor they give, and give the same one
    // for as long as they live.
    let registered = unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) };
    registered.map_err(|error| Error::System {
        call: "epoll",
        error: error.into(),
    })
}
