package capture

import (
	"io"
)

// Writer writes batches, and keeps the lengths of sections right.
type Writer struct {
	to io.Writer
	// seekable is to, where what was written can be written again, or nil.
	seekable io.WriterAt
	// resizes: blocks may change their lengths.
	resizes bool
	at      int64
	// section is the one that is being written, begun where it begins in the file, grown by
	// how much it is longer than it was.
	section section
	begun   int64
	grown   int64
}

// NewWriter makes a writer. Where to is no io.WriterAt and resizes is set, sections get the
// length that says that it is unknown, since they are written before it is known.
func NewWriter(to io.Writer, resizes bool) *Writer {
	w := &Writer{to: to, resizes: resizes, section: section{length: unknownLength}}
	w.seekable, _ = to.(io.WriterAt)
	return w
}

// sectionLengthAt is where in its header a section says how long it is.
const sectionLengthAt = 16

// Write writes a batch, as the bytes that Edited has made of it or as it is.
func (w *Writer) Write(b *Batch, bytes []byte) error {
	for _, s := range b.sections { // no packet of the batch is before one of them
		if err := w.endSection(); err != nil {
			return err
		}
		w.section, w.begun = s, w.at+int64(s.at)
		if w.seekable == nil && w.resizes && s.length != unknownLength {
			w.section.length = unknownLength
			s.order.PutUint64(bytes[s.at+sectionLengthAt:], unknownLength)
		}
	}
	w.grown += int64(len(bytes) - len(b.Bytes))
	n, err := w.to.Write(bytes)
	w.at += int64(n)
	return err
}

// endSection corrects the length of the section that ends here.
func (w *Writer) endSection() error {
	grown := w.grown
	w.grown = 0
	if grown == 0 || w.section.length == unknownLength || w.seekable == nil {
		return nil
	}
	var length [8]byte
	w.section.order.PutUint64(length[:], w.section.length+uint64(grown))
	_, err := w.seekable.WriteAt(length[:], w.begun+sectionLengthAt)
	return err
}

// Close ends the last section. It does not close what is written to.
func (w *Writer) Close() error { return w.endSection() }
