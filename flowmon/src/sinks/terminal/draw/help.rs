//! What the keys and the columns are.

use ratatui::text::Line;

use super::Lines;

const TEXT: &str = "
  up down  j k     a row up, down         enter right  look into it
  pgup pgdn        a page                 esc left     back; drops the filter
  home end  g G    first, last            tab          violations and back
  s S              sort by the next       r            the other way round
  /                filter as you type: all of the words, none of !those
  space            stand still; the head of the screen goes on
  q  ctrl-c        quit, with a summary   ctrl-l       draw anew

  A row is all flows of an endpoint with one service of a peer;
  the arrow says who opened them.
  SENT, RECV   by the endpoint: bytes a second on the wire
  RTT          the network's: out to the peer and back
  CONT         the container's: in, and back out
  RETX         segments sent again by either side, since the row is there
  RATE         both ways, an interval each, the highest at full height
  !  denied    ?  undecided    *  refused, reset, timed out, unreachable
";

pub(super) fn lines() -> Lines {
    TEXT.lines().map(Line::raw).collect()
}

#[cfg(test)]
mod tests {
    use super::TEXT;

    #[test]
    fn it_fits() {
        assert!(TEXT.lines().all(|line| line.len() <= 80));
        assert!(TEXT.lines().count() <= 21);
    }
}
