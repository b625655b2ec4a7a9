print("ringtrain")
