package docstore

// OpenPebbleOn lets tests choose the file system.
var OpenPebbleOn = openPebble
