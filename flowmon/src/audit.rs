//! Flows against policies: what is allowed, denied, undecided, and what that adds up to.
//!
//! Pure. Who reads records or sees packets tells [`Audit`] of them, and it keeps the account: each
//! flow once, its bytes by its latest report, in bounded memory.

mod account;
mod auditor;
mod basis;
mod findings;
mod judge;
mod live;
mod pods;
mod recent;
mod who;

use crate::model::Audited;
pub use account::{Account, Talk, When};
pub use auditor::{Audit, Seen};
pub use basis::{Amendment, Basis};
pub use findings::{Change, Counts, Findings, Group};
pub use judge::{End, Flow, Judged, Judgement, NotJudged, judge};
pub use live::{Live, Observed, Word};
pub use pods::{Behind, is_for_many};
pub(crate) use recent::Recent;
pub use who::{Party, Who};
