//! Both patterns at once: a pair of places is reached if some beginning of a path leads both there. From one pair to the
//! next at least one place grows, so each pair is looked at once, row by row.

use super::{OverSteps, Segment, Steps, Token};

/// Whether there is a path that both match.
pub(super) fn patterns(mut a: &[Segment], mut b: &[Segment], steps: &mut Steps) -> Result<bool, OverSteps> {
    steps.spend(1)?;
    if let ([.., a], [.., b]) = (a, b)
        && ends_differ(a, b)
    {
        return Ok(false);
    }
    // Names that stand at the same end of both must be the same.
    while let ([Segment::Name(mine), rest @ ..], [Segment::Name(theirs), others @ ..]) = (a, b) {
        if mine != theirs {
            return Ok(false);
        }
        (a, b) = (rest, others);
    }
    while let ([rest @ .., Segment::Name(mine)], [others @ .., Segment::Name(theirs)]) = (a, b) {
        if mine != theirs {
            return Ok(false);
        }
        (a, b) = (rest, others);
    }
    match a.is_empty() && b.is_empty() {
        true => Ok(true),
        false => meet(a, b, &Segment::AnyNames, steps, names),
    }
}

/// Whether no name can end as both say: the cheapest look, which most patterns of one folder do not outlive.
fn ends_differ(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::AnyNames, _) | (_, Segment::AnyNames) => false,
        (Segment::Name(a), Segment::Name(b)) => a != b,
        (Segment::Open(tokens), Segment::Name(name)) | (Segment::Name(name), Segment::Open(tokens)) => {
            let mut chars = name.chars().rev();
            fixed_end(tokens).any(|c| chars.next() != Some(c))
        }
        (Segment::Open(a), Segment::Open(b)) => fixed_end(a).zip(fixed_end(b)).any(|(a, b)| a != b),
    }
}

/// The characters that stand at the end of an open name, from the last on.
fn fixed_end(tokens: &[Token]) -> impl Iterator<Item = char> {
    tokens.iter().rev().map_while(|token| match token {
        Token::Char(c) => Some(*c),
        _ => None,
    })
}

/// Whether there is a sequence that both patterns match, of which `many` stands for any number of parts; `one` says whether
/// there is a part that two other places match.
fn meet<T: PartialEq>(
    a: &[T],
    b: &[T],
    many: &T,
    steps: &mut Steps,
    one: impl Fn(&T, &T, &mut Steps) -> Result<bool, OverSteps>,
) -> Result<bool, OverSteps> {
    let wide = b.len() + 1;
    let (mut row, mut next) = (vec![false; wide], vec![false; wide]);
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
            if mine == Some(many) {
                next[j] = true;
                if theirs.is_some() {
                    row[j + 1] = true;
                }
            }
            if theirs == Some(many) {
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
fn names(a: &Segment, b: &Segment, steps: &mut Steps) -> Result<bool, OverSteps> {
    match (a, b) {
        // Both go on: said by the pairs on the way there.
        (Segment::AnyNames, _) | (_, Segment::AnyNames) => Ok(false),
        (Segment::Name(a), Segment::Name(b)) => {
            steps.spend(1)?;
            Ok(a == b)
        }
        (Segment::Open(tokens), Segment::Name(_)) | (Segment::Name(_), Segment::Open(tokens))
            if **tokens == [Token::Star] =>
        {
            steps.spend(1)?;
            Ok(true)
        }
        (Segment::Open(tokens), Segment::Name(name)) | (Segment::Name(name), Segment::Open(tokens)) => {
            let chars: Vec<Token> = name.chars().map(Token::Char).collect();
            open(tokens, &chars, steps)
        }
        (Segment::Open(a), Segment::Open(b)) => open(a, b, steps),
    }
}

/// Whether there are characters that both match.
fn open(a: &[Token], b: &[Token], steps: &mut Steps) -> Result<bool, OverSteps> {
    meet(a, b, &Token::Star, steps, |a, b, _| Ok(one(a, b)))
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
