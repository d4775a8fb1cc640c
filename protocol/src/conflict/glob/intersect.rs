//! Both patterns at once: a pair of places is reached if some beginning of a path leads both there. From one pair to the
//! next at least one place grows, so each pair is looked at once, row by row.

use smallvec::SmallVec;

use super::{OverSteps, Part, Steps, Token};

/// A row of pairs, and characters of a name: more than most have.
type Row = SmallVec<[bool; 32]>;
type Chars = SmallVec<[char; 32]>;

/// Whether there is a path that both match.
pub(super) fn patterns(mut a: &[Part<'_>], mut b: &[Part<'_>], steps: &mut Steps) -> Result<bool, OverSteps> {
    steps.spend(1)?;
    if let ([.., a], [.., b]) = (a, b)
        && ends_differ(*a, *b)
    {
        return Ok(false);
    }
    // Names that stand at the same end of both must be the same.
    while let ([Part::Name(mine), rest @ ..], [Part::Name(theirs), others @ ..]) = (a, b) {
        if mine != theirs {
            return Ok(false);
        }
        (a, b) = (rest, others);
    }
    while let ([rest @ .., Part::Name(mine)], [others @ .., Part::Name(theirs)]) = (a, b) {
        if mine != theirs {
            return Ok(false);
        }
        (a, b) = (rest, others);
    }
    let many = |part: &Part<'_>| matches!(part, Part::AnyNames);
    match a.is_empty() && b.is_empty() {
        true => Ok(true),
        false => meet((a, many), (b, many), steps, |a, b, steps| names(*a, *b, steps)),
    }
}

/// Whether no name can end as both say: the cheapest look, which most patterns of one folder do not outlive.
fn ends_differ(a: Part<'_>, b: Part<'_>) -> bool {
    match (a, b) {
        (Part::AnyNames, _) | (_, Part::AnyNames) => false,
        (Part::Name(a), Part::Name(b)) => a != b,
        (Part::Open(tokens), Part::Name(name)) | (Part::Name(name), Part::Open(tokens)) => {
            let mut chars = name.chars().rev();
            fixed_end(tokens).any(|c| chars.next() != Some(c))
        }
        (Part::Open(a), Part::Open(b)) => fixed_end(a).zip(fixed_end(b)).any(|(a, b)| a != b),
    }
}

/// The characters that stand at the end of an open name, from the last on.
fn fixed_end(tokens: &[Token]) -> impl Iterator<Item = char> {
    tokens.iter().rev().map_while(|token| match token {
        Token::Char(c) => Some(*c),
        _ => None,
    })
}

/// Whether there is a sequence that both patterns match; of each is said what stands for any number of parts. `one` says
/// whether there is a part that two other places match.
fn meet<A, B>(
    (a, many_of_a): (&[A], impl Fn(&A) -> bool),
    (b, many_of_b): (&[B], impl Fn(&B) -> bool),
    steps: &mut Steps,
    one: impl Fn(&A, &B, &mut Steps) -> Result<bool, OverSteps>,
) -> Result<bool, OverSteps> {
    let wide = b.len() + 1;
    let (mut row, mut next) = (Row::from_elem(false, wide), Row::from_elem(false, wide));
    row[0] = true;
    for i in 0..=a.len() {
        let mut any = false;
        steps.spend(1)?;
        for j in 0..wide {
            if !row[j] {
                continue;
            }
            any = true;
            steps.spend(1)?;
            let (mine, theirs) = (a.get(i), b.get(j));
            // Any number of parts: none, or one more that the other side takes.
            if mine.is_some_and(&many_of_a) {
                next[j] = true;
                if theirs.is_some() {
                    row[j + 1] = true;
                }
            }
            if theirs.is_some_and(&many_of_b) {
                row[j + 1] = true;
                if mine.is_some() {
                    next[j] = true;
                }
            }
            if let (Some(mine), Some(theirs)) = (mine, theirs)
                && !next[j + 1]
                && one(mine, theirs, steps)?
            {
                next[j + 1] = true;
            }
        }
        if i == a.len() {
            return Ok(row[b.len()]);
        }
        if !any {
            return Ok(false);
        }
        std::mem::swap(&mut row, &mut next);
        next.fill(false);
    }
    unreachable!("the last row was looked at")
}

/// Whether there is a name that both segments match.
fn names(a: Part<'_>, b: Part<'_>, steps: &mut Steps) -> Result<bool, OverSteps> {
    match (a, b) {
        // Both go on: said by the pairs on the way there.
        (Part::AnyNames, _) | (_, Part::AnyNames) => Ok(false),
        (Part::Name(a), Part::Name(b)) => {
            steps.spend(1)?;
            Ok(a == b)
        }
        (Part::Open([Token::Star]), Part::Name(_)) | (Part::Name(_), Part::Open([Token::Star])) => {
            steps.spend(1)?;
            Ok(true)
        }
        (Part::Open(tokens), Part::Name(name)) | (Part::Name(name), Part::Open(tokens)) => {
            let chars: Chars = name.chars().collect();
            meet(
                (tokens, is_star),
                (&chars[..], |_: &char| false),
                steps,
                |token, c, _| Ok(one(token, &Token::Char(*c))),
            )
        }
        (Part::Open(a), Part::Open(b)) => meet((a, is_star), (b, is_star), steps, |a, b, _| Ok(one(a, b))),
    }
}

fn is_star(token: &Token) -> bool {
    *token == Token::Star
}

/// Whether there is one character that both match; any number of them is said by the pairs on the way.
fn one(a: &Token, b: &Token) -> bool {
    match (a, b) {
        (Token::Star, _) | (_, Token::Star) => false,
        (Token::Any, _) | (_, Token::Any) => true,
        (Token::Char(a), Token::Char(b)) => a == b,
        (Token::Char(c), Token::Class(ranges)) | (Token::Class(ranges), Token::Char(c)) => {
            ranges.iter().any(|(low, high)| (low..=high).contains(&c))
        }
        (Token::Class(a), Token::Class(b)) => {
            let meets = |(low, high): &(char, char)| b.iter().any(|(from, to)| low <= to && from <= high);
            a.iter().any(meets)
        }
    }
}
