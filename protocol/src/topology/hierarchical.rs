//! A k-ary tree in heap order: rank 0 is the root, the parent of rank r is (r − 1)/k, its children are k·r + 1 to k·r + k.
//!
//! Ancestors have smaller ranks than their descendants, so the way between two ranks is found by lifting the greater.

pub(super) fn neighbours(fan_out: usize, n: usize, me: usize) -> Vec<usize> {
    let first_child = fan_out * me + 1;
    let children = first_child.min(n)..(first_child + fan_out).min(n);
    let parent = (me > 0).then(|| parent(fan_out, me));
    parent.into_iter().chain(children).collect()
}

pub(super) fn next_hop(fan_out: usize, me: usize, to: usize) -> usize {
    // The last rank before the lifted one passes `me`: the child of `me` above `to`, if `to` lies below `me`.
    let (mut below, mut lifted) = (to, to);
    while lifted > me {
        below = lifted;
        lifted = parent(fan_out, lifted);
    }
    if lifted == me { below } else { parent(fan_out, me) }
}

pub(super) fn hops(fan_out: usize, from: usize, to: usize) -> u32 {
    let (mut a, mut b, mut hops) = (from, to, 0);
    while a != b {
        if a > b {
            a = parent(fan_out, a);
        } else {
            b = parent(fan_out, b);
        }
        hops += 1;
    }
    hops
}

fn parent(fan_out: usize, rank: usize) -> usize {
    (rank - 1) / fan_out
}
