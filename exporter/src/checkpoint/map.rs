//! A network of another package, layer by layer by guided-diffusion's names, or why it is none of these.
//!
//! ```text
//! down_blocks.LEVEL.resnets.I, .attentions.I, .downsampler   ->  input_blocks.N.{0,1}
//! middle_block.{resnet_1,attention,resnet_2}                 ->  middle_block.{0,1,2}
//! up_blocks.LEVEL.resnets.I, .attentions.I, .upsampler       ->  output_blocks.N.{0,1,2}
//! to_q, to_k, to_v: [C, C] each                              ->  qkv: [3C, C, 1], q first, then k, then v
//! ```
//!
//! Whatever the tensors show to compute something else is a fault, and so is a tensor that is left over.

use std::collections::{BTreeMap, BTreeSet};

use super::family::FamilyNames;

/// Names of a file's tensors, and their shapes if they can be read.
pub type Found<'a> = BTreeMap<&'a str, Option<&'a [usize]>>;

/// A tensor that is made of some of a file's, one behind the other.
#[derive(Debug, PartialEq, Eq)]
pub struct Made {
    /// Their names in the file; at least one.
    pub parts: Vec<String>,
    /// `None` if one of them cannot be read.
    pub shape: Option<Vec<usize>>,
}

/// Why a network cannot be mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A tensor or a layer.
    pub place: String,
    pub found: String,
    pub expected: String,
}

fn fault(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Fault {
    Fault { place: place.into(), found: found.into(), expected: expected.into() }
}

/// Parts of names that show what guided-diffusion's networks do not have.
const OTHERS: [(&str, &str, &str); 3] = [
    ("transformer_blocks.", "cross-attention", "self-attention alone"),
    ("time_proj.", "frequencies that were drawn or learned", "the fixed ones of sines and cosines"),
    ("class_embedding.linear_1.", "an embedding of numbers", "one row a class, or no such tensor"),
];

/// The network whose names begin with `prefix`: its tensors by guided-diffusion's names, below the prefix.
///
/// Errors: the first fault.
pub fn map(
    found: &Found<'_>,
    prefix: &str,
    names: &'static FamilyNames,
) -> Result<Vec<(String, Made)>, Fault> {
    let below = found.range(prefix..).take_while(|(name, _)| name.starts_with(prefix));
    let own = below.map(|(name, &shape)| (&name[prefix.len()..], shape));
    let own = own.filter(|(name, _)| name.split('.').next().is_some_and(|root| names.roots.contains(&root)));
    let mut walk =
        Walk { prefix, names, found: own.collect(), taken: BTreeSet::new(), made: Vec::new(), change: None };
    walk.network()?;
    Ok(walk.made)
}

/// What leads from level to level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    ResBlock,
    Conv,
}

impl Change {
    fn words(self) -> &'static str {
        match self {
            Self::ResBlock => "a residual block",
            Self::Conv => "a convolution",
        }
    }
}

/// A level on the way down.
struct Level {
    place: String,
    attention: bool,
}

struct Walk<'a> {
    prefix: &'a str,
    names: &'static FamilyNames,
    /// The network's own tensors, below the prefix.
    found: Found<'a>,
    taken: BTreeSet<String>,
    made: Vec<(String, Made)>,
    /// The first change of resolution: all are alike.
    change: Option<(String, Change)>,
}

impl Walk<'_> {
    fn network(&mut self) -> Result<(), Fault> {
        for (part, what, expected) in OTHERS {
            if let Some(name) = self.found.keys().find(|name| name.contains(part)) {
                return Err(fault(*name, what, expected));
            }
        }
        let names = self.names;
        let first = names.first[0];
        if let Some(shape) = self.found[first].filter(|shape| shape.len() != 4) {
            return Err(fault(first, format!("{shape:?}"), "4 axes: a network of two dimensions"));
        }
        self.conv("conv_in", "input_blocks.0.0")?;
        self.layer(names.time[0], "time_embed.0")?;
        self.layer(names.time[1], "time_embed.2")?;
        if self.found.contains_key("class_embedding.weight") {
            self.take("class_embedding.weight", "label_emb.weight")?;
        }
        let res_blocks = self.count("down_blocks.0.resnets");
        let levels = self.down(res_blocks)?;
        self.residual(names.middle[0], "middle_block.0")?;
        self.attention(names.middle[1], "middle_block.1")?;
        self.residual(names.middle[2], "middle_block.2")?;
        self.up(&levels, res_blocks)?;
        self.layer(names.out[0], "out.0")?;
        self.conv(names.out[1], "out.2")?;
        match self.found.keys().find(|name| !self.taken.contains(**name)) {
            Some(name) => Err(fault(*name, "a tensor", "none of this name")),
            None => Ok(()),
        }
    }

    fn down(&mut self, res_blocks: usize) -> Result<Vec<Level>, Fault> {
        let count = self.count("down_blocks");
        let mut levels = Vec::new();
        let mut block = 1;
        for level in 0..count {
            let place = format!("down_blocks.{level}");
            let attention = self.holds(&format!("{place}.attentions.0"));
            self.alike(&format!("{place}.resnets"), res_blocks, "down_blocks.0 has them")?;
            for i in 0..res_blocks {
                self.block(&place, i, attention, &format!("input_blocks.{block}"))?;
                block += 1;
            }
            if level + 1 < count {
                let [down, conv] = self.names.down;
                let to = format!("input_blocks.{block}.0");
                self.change(&format!("{place}.{down}"), &[conv], &to, "op")?;
                block += 1;
            }
            levels.push(Level { place, attention });
        }
        Ok(levels)
    }

    /// The way up, from the last level; each has one residual block more than on the way down.
    fn up(&mut self, levels: &[Level], res_blocks: usize) -> Result<(), Fault> {
        if self.count("up_blocks") != levels.len() {
            let found = format!("{} levels", self.count("up_blocks"));
            return Err(fault("up_blocks", found, format!("{}, as many as go down", levels.len())));
        }
        let mut block = 0;
        for (i, level) in levels.iter().rev().enumerate() {
            let place = format!("up_blocks.{i}");
            let attention = self.holds(&format!("{place}.attentions.0"));
            if attention != level.attention {
                let with = |attention| if attention { "attention" } else { "no attention" };
                let expected = format!("{}, as in {}", with(level.attention), level.place);
                return Err(fault(place, with(attention), expected));
            }
            self.alike(&format!("{place}.resnets"), res_blocks + 1, "one more than go down")?;
            for j in 0..=res_blocks {
                self.block(&place, j, attention, &format!("output_blocks.{block}"))?;
                block += 1;
            }
            if i + 1 < levels.len() {
                let (up, convs) = self.names.up;
                let to = format!("output_blocks.{}.{}", block - 1, if attention { 2 } else { 1 });
                self.change(&format!("{place}.{up}"), convs, &to, "conv")?;
            }
        }
        Ok(())
    }

    /// A residual block of a level, and its attention.
    fn block(&mut self, level: &str, i: usize, attention: bool, to: &str) -> Result<(), Fault> {
        self.residual(&format!("{level}.resnets.{i}"), &format!("{to}.0"))?;
        if attention {
            self.attention(&format!("{level}.attentions.{i}"), &format!("{to}.1"))?;
        }
        Ok(())
    }

    fn residual(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.layer(&format!("{from}.norm1"), &format!("{to}.in_layers.0"))?;
        self.conv(&format!("{from}.conv1"), &format!("{to}.in_layers.2"))?;
        self.layer(&format!("{from}.time_emb_proj"), &format!("{to}.emb_layers.1"))?;
        self.layer(&format!("{from}.norm2"), &format!("{to}.out_layers.0"))?;
        self.conv(&format!("{from}.conv2"), &format!("{to}.out_layers.3"))?;
        let shortcut = format!("{from}.{}", self.names.shortcut);
        if self.holds(&shortcut) { self.conv(&shortcut, &format!("{to}.skip_connection")) } else { Ok(()) }
    }

    fn attention(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.layer(&format!("{from}.{}", self.names.norm), &format!("{to}.norm"))?;
        let is_there =
            |found: &Found<'_>, layer: &str| found.contains_key(&*format!("{from}.{layer}.weight"));
        let forms = self.names.attention;
        let form = forms.iter().find(|form| is_there(&self.found, form.qkv[0])).unwrap_or(&forms[0]);
        self.pointwise(from, form.qkv, &format!("{to}.qkv"))?;
        self.pointwise(from, &[form.projection], &format!("{to}.proj_out"))
    }

    /// What leads from a level to the next.
    fn change(&mut self, from: &str, convs: &[&str], to: &str, conv: &str) -> Result<(), Fault> {
        let change = if self.holds(&format!("{from}.norm1")) { Change::ResBlock } else { Change::Conv };
        match &self.change {
            Some((first, other)) if *other != change => {
                let expected = format!("{}, as {first} is", other.words());
                return Err(fault(from, change.words(), expected));
            }
            Some(_) => {}
            None => self.change = Some((from.to_owned(), change)),
        }
        match change {
            Change::ResBlock => self.residual(from, to),
            Change::Conv => {
                let named = convs.iter().map(|name| format!("{from}.{name}"));
                let from = named.clone().find(|name| self.holds(name)).or(named.clone().next());
                self.conv(&from.unwrap_or_default(), &format!("{to}.{conv}"))
            }
        }
    }

    fn conv(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        self.layer(&format!("{from}{}", self.names.conv), to)
    }

    /// A layer as it is.
    fn layer(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        for part in ["weight", "bias"] {
            self.take(&format!("{from}.{part}"), &format!("{to}.{part}"))?;
        }
        Ok(())
    }

    fn take(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        let shape = self.shape(from)?.map(<[usize]>::to_vec);
        self.put(&[from.to_owned()], shape, to);
        Ok(())
    }

    /// Linear layers `[O, I]` of `from`, one behind the other, as a convolution of a sequence, `[n · O, I, 1]`.
    fn pointwise(&mut self, from: &str, layers: &[&str], to: &str) -> Result<(), Fault> {
        for (part, axes) in [("weight", 2), ("bias", 1)] {
            let parts: Vec<String> = layers.iter().map(|layer| format!("{from}.{layer}.{part}")).collect();
            let mut shapes = Vec::new();
            for part in &parts {
                shapes.extend(self.shape(part)?);
            }
            if let Some((i, shape)) =
                shapes.iter().enumerate().find(|(_, s)| s.len() != axes || **s != shapes[0])
            {
                let expected = format!("{axes} axes, and all of {} alike", layers.join(", "));
                return Err(fault(&parts[i], format!("{shape:?}"), expected));
            }
            let shape = (shapes.len() == parts.len()).then(|| {
                let mut shape = shapes[0].to_vec();
                shape[0] = shape[0].saturating_mul(parts.len());
                shape.extend((axes == 2).then_some(1));
                shape
            });
            self.put(&parts, shape, &format!("{to}.{part}"));
        }
        Ok(())
    }

    fn put(&mut self, parts: &[String], shape: Option<Vec<usize>>, to: &str) {
        self.taken.extend(parts.iter().cloned());
        let parts = parts.iter().map(|part| format!("{}{part}", self.prefix)).collect();
        self.made.push((to.to_owned(), Made { parts, shape }));
    }

    /// The shape of a tensor that must be there; `None` if it cannot be read.
    fn shape(&self, name: &str) -> Result<Option<&[usize]>, Fault> {
        self.found.get(name).copied().ok_or_else(|| fault(name, "nothing", "a tensor"))
    }

    /// Whether there is anything of a layer or block.
    fn holds(&self, place: &str) -> bool {
        let below = format!("{place}.");
        self.found.range(&*below..).next().is_some_and(|(name, _)| name.starts_with(&below))
    }

    /// How many numbers from 0 stand behind a list's name.
    fn count(&self, list: &str) -> usize {
        (0..self.found.len()).take_while(|i| self.holds(&format!("{list}.{i}"))).count()
    }

    fn alike(&self, list: &str, expected: usize, why: &str) -> Result<(), Fault> {
        match self.count(list) {
            count if count == expected => Ok(()),
            count => Err(fault(list, format!("{count} residual blocks"), format!("{expected}: {why}"))),
        }
    }
}
