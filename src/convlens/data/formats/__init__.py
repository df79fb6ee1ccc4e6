"""What pictures come in: folders and archives of files, IDX, CIFAR, tables of labels."""
