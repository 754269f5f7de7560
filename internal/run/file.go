package run

// Progress is how far a run over a capture file is.
type Progress struct {
	// Bytes are those of the file that were read, Size all of them or 0 where that is not
	// known, as of a pipe.
	Bytes, Size int64
	Packets     uint64 // that were read
}

// FileSession is a run over a capture file. It ends by itself behind the last packet: Close
// then reports why the file could not be read to its end, if so. Where it is closed before,
// what was to be written is not.
type FileSession interface {
	Session
	Progress() Progress
	// Remarks are what is to be known about the file that was written, once the session is
	// closed.
	Remarks() []Advice
}
