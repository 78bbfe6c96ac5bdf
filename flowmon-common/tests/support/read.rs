//! The parser's functions, returning what the kernel side has written into its scratch space.

use flowmon_common::{Frame, Link, Parsed, Refusal, parse};

/// The fast path.
pub(crate) fn fast(frame: &Frame<'_>) -> Option<Parsed> {
    let mut packet = Parsed::EMPTY;
    parse::fast(frame, &mut packet)?;
    Some(packet)
}

/// The full path.
pub(crate) fn full(frame: &Frame<'_>) -> Result<Parsed, Refusal> {
    let mut packet = Parsed::EMPTY;
    parse::full(frame, Link::Ethernet, &mut packet)?;
    Ok(packet)
}

/// The packet that an ICMP error quotes.
pub(crate) fn quoted(frame: &Frame<'_>, error: &Parsed) -> Result<Parsed, Refusal> {
    let mut packet = Parsed::EMPTY;
    parse::quoted(frame, error, &mut packet)?;
    Ok(packet)
}
