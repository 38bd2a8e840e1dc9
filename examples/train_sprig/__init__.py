"""Trains Sprig, the embedded model, on synthetic chats made by this folder."""
