//! The ring buffers: new flows, and the kernel side's own messages.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use flowmon_common::{NewFlow, settings::EVENTS_BYTES};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
    time::{Interval, interval},
};

use super::Error;

/// New flows, as they come.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    /// There are some, or some may have been left: the kernel does not wake us again for them.
    more: bool,
    /// The next ones are gathered, until this ticks.
    gather: Interval,
    gathering: bool,
}

/// How long new flows are gathered, once there is one. To wake up for each costs more than all the
/// rest that is done for it.
const GATHER: Duration = Duration::from_millis(5);

impl Events {
    /// To [`Self::take`] this many is to take all there are: the ring has no room for more.
    pub const ALL: usize = EVENTS_BYTES as usize / size_of::<NewFlow>();

    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf
            .take_map("EVENTS")
            .ok_or(Error::Mismatch { name: "EVENTS" })?;
        Ok(Self {
            ring: register(RingBuf::try_from(map)?)?,
            more: false,
            gather: interval(GATHER),
            gathering: false,
        })
    }

    /// Waits until there is something to [`Self::take`]: the kernel wakes us only for what comes
    /// into an empty ring. Cancel-safe.
    pub async fn ready(&mut self) -> io::Result<()> {
        if !self.more {
            self.ring.readable_mut().await?.clear_ready();
            self.more = true;
        }
        // Or timers and signals would have to wait until there are no more.
        yield_now().await;
        if self.gathering {
            self.gather.tick().await;
            self.gathering = false;
        }
        Ok(())
    }

    /// Takes what there is, without waiting, but at most so many: more may come all the time. Says
    /// how many it took. A record of another kind is passed over.
    pub fn take(&mut self, most: usize, mut each: impl FnMut(NewFlow)) -> usize {
        for taken in 0..most {
            let Some(record) = self.ring.get_mut().next() else {
                self.more = false;
                self.gather.reset();
                self.gathering = true;
                return taken;
            };
            if let Some(event) = NewFlow::decode(&record) {
                each(event);
            }
        }
        self.more = true;
        most
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
