//! What flowmon's kernel side and its userspace share: the binary interface between them, and the
//! packet parser, which runs unchanged in the kernel, in the tests and under the fuzzer.
//!
//! Rules of the interface: `repr(C)`, every padding byte named, no `bool`, `enum` or `Option` in a
//! shared struct (any bit pattern must be valid), layout asserted next to each type.
#![no_std]

pub mod abi;
pub mod address;
pub mod counter;
pub mod event;
pub mod fragment;
pub mod hygiene;
pub mod kept;
pub mod key;
pub mod latency;
pub mod layout;
pub mod packet;
pub mod parse;
pub mod probe;
pub mod settings;
pub mod sketch;
pub mod stats;
pub mod tcp;
pub mod wire;
pub mod witness;

pub use address::Address;
pub use counter::Counter;
pub use event::NewFlow;
pub use fragment::{FragmentKey, FragmentOwner};
pub use hygiene::{Oddities, Oddity};
pub use kept::{Ended, Ledger};
pub use key::{Direction, FlowKey};
pub use packet::{Frame, PacketSource};
pub use parse::{Link, Parsed, Refusal, parse};
pub use settings::{Clocks, Endpoint, Owned};
pub use sketch::{Scans, Targets};
pub use stats::{Crossed, DirectionStats, FlowStats, Initiator, Totals, Traffic};
pub use witness::Witness;
