//! Members in ascending order, the last linked with the first.

pub(super) fn neighbours(n: usize, me: usize) -> Vec<usize> {
    match n {
        0 | 1 => Vec::new(),
        2 => vec![1 - me],
        _ => vec![(me + n - 1) % n, (me + 1) % n],
    }
}

/// The shorter way round. Where both are equally long the ascending one: after its first step it is the shorter one,
/// so a message never turns back.
pub(super) fn next_hop(n: usize, me: usize, to: usize) -> usize {
    let ascending = (to + n - me) % n;
    if ascending <= n - ascending {
        (me + 1) % n
    } else {
        (me + n - 1) % n
    }
}

pub(super) fn hops(n: usize, from: usize, to: usize) -> u32 {
    let ascending = (to + n - from) % n;
    ascending.min(n - ascending) as u32
}
