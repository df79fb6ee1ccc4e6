"""Pictures in tar files, many in each: named, indexed, read in any order, written. WebDataset's conventions."""
